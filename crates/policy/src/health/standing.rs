//! The state machine of one endpoint: admitting, ejected, probing.
//!
//! ```text
//!              errors in a row, or too many of a hundred
//!   admitting ─────────────────────────────────────────► ejected ◄──┐
//!       ▲                                                   │ time  │ the trial fails
//!       │          the trial succeeds                       ▼       │
//!       └──────────────────────────────────────────────── probing ──┘
//! ```
//!
//! A verdict of the active health check is kept apart from it and does not change the phase.

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It takes traffic.
    Admitting,
    /// One trial is under way; nobody else is sent there.
    Probing,
    /// It is left alone.
    Ejected,
}

impl Phase {
    /// The word for it in explanations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitting => "admitting",
            Self::Probing => "probing",
            Self::Ejected => "ejected",
        }
    }
}

/// How an attempt came to its endpoint: what its outcome says depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The endpoint admitted.
    Admitted,
    /// The trial of an endpoint whose ejection is over.
    Trial,
    /// Nobody admitted: health was ignored.
    Forced,
}

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierPolicy {
    /// Errors in a row that eject; 0: none do.
    pub consecutive_errors: u32,
    /// Percentage of errors within an interval that ejects; 0: none does.
    pub error_percent: u32,
    /// Requests within an interval below which the percentage says nothing.
    pub min_requests: u32,
    /// Length of an interval (ms).
    pub interval_ms: u64,
    /// The first ejection lasts this long; the n-th in a row n times as long (ms).
    pub ejection_ms: u64,
    /// The longest ejection (ms). An endpoint that admits for as long begins anew.
    pub ejection_max_ms: u64,
    /// Percentage of a group that may be out at once.
    pub ejected_percent_max: u32,
}

/// Where one endpoint stands, in one machine word: see [`Standing::to_bits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    phase: Phase,
    /// The active health check says no.
    down: bool,
    /// Errors in a row while admitting.
    errors: u32,
    /// Ejections in a row.
    ejections: u32,
    /// Admitting: since when. Probing: until when the trial counts. Ejected: until when.
    at_ms: u64,
}

/// How long a trial may take before another one is made (ms). Its end, however it comes, is told at
/// once; this is for the one that is never told.
const TRIAL_MAX_MS: u64 = 60_000;

const AT_BITS: u32 = 44;
const EJECTIONS_BITS: u32 = 7;
const ERRORS_BITS: u32 = 10;
const AT_MAX: u64 = (1 << AT_BITS) - 1;
const EJECTIONS_MAX: u32 = (1 << EJECTIONS_BITS) - 1;
const ERRORS_MAX: u32 = (1 << ERRORS_BITS) - 1;

impl Standing {
    /// From its word. Zero is an endpoint that admits and of which nothing is known.
    pub fn from_bits(bits: u64) -> Self {
        let errors_at = AT_BITS + EJECTIONS_BITS;
        let phase_at = errors_at + ERRORS_BITS;
        Self {
            phase: match bits >> phase_at & 3 {
                0 => Phase::Admitting,
                1 => Phase::Probing,
                _ => Phase::Ejected,
            },
            down: bits >> (phase_at + 2) & 1 == 1,
            errors: (bits >> errors_at) as u32 & ERRORS_MAX,
            ejections: (bits >> AT_BITS) as u32 & EJECTIONS_MAX,
            at_ms: bits & AT_MAX,
        }
    }

    /// From the top: one bit for the health check, 2 for the phase, 10 for errors in a row, 7 for
    /// ejections in a row, 44 for the time in ms (557 years).
    pub fn to_bits(self) -> u64 {
        let errors_at = AT_BITS + EJECTIONS_BITS;
        let phase_at = errors_at + ERRORS_BITS;
        let phase = match self.phase {
            Phase::Admitting => 0,
            Phase::Probing => 1,
            Phase::Ejected => 2_u64,
        };
        u64::from(self.down) << (phase_at + 2)
            | phase << phase_at
            | u64::from(self.errors.min(ERRORS_MAX)) << errors_at
            | u64::from(self.ejections.min(EJECTIONS_MAX)) << AT_BITS
            | self.at_ms.min(AT_MAX)
    }

    /// Admitting, probing or ejected; what fails its health check is ejected too.
    pub fn phase(self) -> Phase {
        if self.down { Phase::Ejected } else { self.phase }
    }

    /// Does it take traffic?
    pub fn is_admitting(self) -> bool {
        self.phase == Phase::Admitting && !self.down
    }

    /// Does the active health check say no?
    pub fn is_down(self) -> bool {
        self.down
    }

    /// Is there anything to forget by a success? The one look that a good outcome costs.
    pub fn is_spotless(self) -> bool {
        self.phase == Phase::Admitting && self.errors == 0
    }

    /// Was it put aside for its errors (health checks left aside)?
    pub fn is_out(self) -> bool {
        self.phase != Phase::Admitting
    }

    /// Since when it admits (ms); None when it does not.
    pub fn admitting_since(self) -> Option<u64> {
        self.is_admitting().then_some(self.at_ms)
    }

    /// How long it is still left alone (ms); 0 when it may be tried.
    pub fn left_ms(self, now_ms: u64) -> u64 {
        if self.phase == Phase::Admitting { 0 } else { self.at_ms.saturating_sub(now_ms) }
    }

    /// May a trial be made now?
    pub fn may_try(self, now_ms: u64) -> bool {
        self.phase != Phase::Admitting && self.at_ms <= now_ms && !self.down
    }

    /// The trial begins; None where none may.
    pub fn trying(self, now_ms: u64) -> Option<Self> {
        self.may_try(now_ms).then_some(Self {
            phase: Phase::Probing,
            at_ms: now_ms + TRIAL_MAX_MS,
            ..self
        })
    }

    /// The active health check has a verdict. One that is well again begins its time anew.
    pub fn checked(self, down: bool, now_ms: u64) -> Self {
        let recovered = self.down && !down && self.phase == Phase::Admitting;
        Self { down, at_ms: if recovered { now_ms } else { self.at_ms }, ..self }
    }

    /// An attempt went well. What began while the endpoint admitted does not end an ejection that
    /// came later: it had been sent before.
    pub fn succeeded(self, entry: Entry, now_ms: u64) -> Self {
        match (self.phase, entry) {
            (Phase::Admitting, _) => Self { errors: 0, ..self },
            (_, Entry::Admitted) => self,
            (_, Entry::Trial | Entry::Forced) => {
                Self { phase: Phase::Admitting, errors: 0, at_ms: now_ms, ..self }
            }
        }
    }

    /// An attempt went wrong. `over`: the window has too many errors. `room`: the group can spare
    /// one more.
    pub fn failed(
        self,
        policy: &OutlierPolicy,
        entry: Entry,
        over: bool,
        room: bool,
        now_ms: u64,
    ) -> Self {
        match (self.phase, entry) {
            (Phase::Admitting, _) => {
                let errors = (self.errors + 1).min(ERRORS_MAX);
                let in_a_row = policy.consecutive_errors > 0 && errors >= policy.consecutive_errors;
                if (in_a_row || over) && room {
                    let long_well = now_ms.saturating_sub(self.at_ms) >= policy.ejection_max_ms;
                    let before = if long_well { 0 } else { self.ejections };
                    self.ejected(policy, before, now_ms)
                } else {
                    Self { errors, ..self }
                }
            }
            (Phase::Probing, Entry::Trial) => self.ejected(policy, self.ejections, now_ms),
            _ => self,
        }
    }

    fn ejected(self, policy: &OutlierPolicy, before: u32, now_ms: u64) -> Self {
        let ejections = (before + 1).min(EJECTIONS_MAX);
        let pause =
            policy.ejection_ms.saturating_mul(u64::from(ejections)).min(policy.ejection_max_ms);
        Self { phase: Phase::Ejected, errors: 0, ejections, at_ms: now_ms + pause, ..self }
    }

    /// The peer asked to be left alone until then. It is no error, so that it does not make the
    /// next ejection longer.
    pub fn resting(self, until_ms: u64) -> Self {
        let at_ms = match self.phase {
            Phase::Ejected => self.at_ms.max(until_ms),
            Phase::Admitting | Phase::Probing => until_ms,
        };
        Self { phase: Phase::Ejected, errors: 0, at_ms, ..self }
    }

    /// The trial ended and says nothing (the caller went away): another one may be made at once.
    pub fn untried(self, now_ms: u64) -> Self {
        if self.phase == Phase::Probing {
            Self { phase: Phase::Ejected, at_ms: now_ms, ..self }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: OutlierPolicy = OutlierPolicy {
        consecutive_errors: 3,
        error_percent: 50,
        min_requests: 20,
        interval_ms: 10_000,
        ejection_ms: 1000,
        ejection_max_ms: 2500,
        ejected_percent_max: 50,
    };

    fn fresh() -> Standing {
        Standing::from_bits(0)
    }

    fn fail(standing: Standing, now: u64) -> Standing {
        standing.failed(&POLICY, Entry::Admitted, false, true, now)
    }

    #[test]
    fn errors_in_a_row_eject_and_a_success_between_them_does_not_let_them() {
        let twice = fail(fail(fresh(), 0), 0);
        assert!(twice.is_admitting());
        assert_eq!(fail(twice, 5).phase(), Phase::Ejected);
        assert!(fail(twice.succeeded(Entry::Admitted, 0), 5).is_admitting());
    }

    #[test]
    fn a_full_window_ejects_at_the_first_error() {
        let ejected = fresh().failed(&POLICY, Entry::Admitted, true, true, 0);
        assert_eq!(ejected.phase(), Phase::Ejected);
    }

    #[test]
    fn without_room_nobody_is_ejected() {
        let mut standing = fresh();
        for _ in 0..5000 {
            standing = standing.failed(&POLICY, Entry::Admitted, true, false, 0);
            standing = Standing::from_bits(standing.to_bits());
        }
        assert!(standing.is_admitting());
        assert_eq!(fail(standing, 0).phase(), Phase::Ejected, "it comes as soon as there is room");
    }

    #[test]
    fn one_trial_at_a_time_decides() {
        let ejected = fail(fail(fail(fresh(), 0), 0), 100);
        assert_eq!(ejected.trying(1099), None);
        let probing = ejected.trying(1100).unwrap();
        assert_eq!(probing.phase(), Phase::Probing);
        assert_eq!(probing.trying(1100), None, "a second trial");
        let well = probing.succeeded(Entry::Trial, 1200);
        assert_eq!(well.admitting_since(), Some(1200));
        // What had been sent before says nothing about now.
        assert_eq!(probing.succeeded(Entry::Admitted, 1200), probing);
        assert_eq!(fail(probing, 1200), probing);
        assert!(probing.trying(1100 + TRIAL_MAX_MS).is_some(), "a trial that was lost");
        assert!(probing.untried(1300).may_try(1300));
    }

    #[test]
    fn ejections_in_a_row_grow_up_to_the_bound_and_are_forgotten_after_good_times() {
        let mut standing = fail(fail(fail(fresh(), 0), 0), 0);
        let mut pauses = vec![standing.left_ms(0)];
        let mut now = 0;
        for _ in 0..3 {
            now += standing.left_ms(now);
            let trial = standing.trying(now).unwrap();
            standing = trial.failed(&POLICY, Entry::Trial, false, false, now);
            pauses.push(standing.left_ms(now));
        }
        assert_eq!(pauses, [1000, 2000, 2500, 2500]);
        now += 2500;
        let well = standing.trying(now).unwrap().succeeded(Entry::Trial, now);
        let soon = fail(fail(fail(well, now), now), now + 10);
        assert_eq!(soon.left_ms(now + 10), 2500);
        let late = fail(fail(fail(well, now), now), now + 2500);
        assert_eq!(late.left_ms(now + 2500), 1000);
    }

    #[test]
    fn a_rest_that_was_asked_for_is_no_ejection() {
        let resting = fresh().resting(700);
        assert_eq!((resting.phase(), resting.left_ms(0)), (Phase::Ejected, 700));
        assert_eq!(resting.resting(300).left_ms(0), 700, "the longer one counts");
        let well = resting.trying(700).unwrap().succeeded(Entry::Trial, 700);
        assert_eq!(fail(fail(fail(well, 700), 700), 700).left_ms(700), 1000);
    }

    #[test]
    fn a_failing_check_closes_without_changing_the_phase() {
        let down = fresh().checked(true, 5);
        assert!(!down.is_admitting() && !down.may_try(5) && !down.is_out());
        assert_eq!(down.phase(), Phase::Ejected);
        let up = down.checked(false, 90);
        assert_eq!(up.admitting_since(), Some(90), "its time begins anew");
        assert_eq!(up.checked(false, 200), up);
        let ejected = fail(fail(fail(fresh(), 0), 0), 0);
        assert_eq!(ejected.checked(true, 1).checked(false, 2), ejected);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Try,
        Succeed(Entry),
        Fail(Entry, bool, bool),
        Check(bool),
        Rest(u64),
        Give,
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let entry = || proptest::sample::select(vec![Entry::Admitted, Entry::Trial, Entry::Forced]);
        let event = prop_oneof![
            Just(Event::Try),
            entry().prop_map(Event::Succeed),
            (entry(), any::<bool>(), any::<bool>()).prop_map(|(e, o, r)| Event::Fail(e, o, r)),
            any::<bool>().prop_map(Event::Check),
            (0u64..5000).prop_map(Event::Rest),
            Just(Event::Give),
        ];
        proptest::collection::vec((0u64..3000, event), 0..200)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_laws_hold(events in events()) {
            let mut now = 0;
            let mut standing = fresh();
            for (later, event) in events {
                now += later;
                let before = standing;
                standing = match event {
                    Event::Try => before.trying(now).unwrap_or(before),
                    Event::Succeed(entry) => before.succeeded(entry, now),
                    Event::Fail(entry, over, room) => {
                        let after = before.failed(&POLICY, entry, over, room, now);
                        // Only with room does one leave; only its trial ends a probing badly.
                        prop_assert!(room || before.is_out() || !after.is_out());
                        if before.phase == Phase::Probing && entry != Entry::Trial {
                            prop_assert_eq!(after, before);
                        }
                        after
                    }
                    Event::Check(down) => before.checked(down, now),
                    Event::Rest(ms) => before.resting(now + ms),
                    Event::Give => before.untried(now),
                };
                prop_assert_eq!(Standing::from_bits(standing.to_bits()), standing);
                // Nobody is left alone for ever: within the bounds each may be tried again.
                let longest = POLICY.ejection_max_ms.max(TRIAL_MAX_MS).max(5000);
                prop_assert!(standing.left_ms(now) <= longest);
                let later = standing.checked(false, now);
                prop_assert!(later.is_admitting() || later.may_try(now + longest));
                // It never admits and may be tried at once.
                prop_assert!(!(standing.is_admitting() && standing.may_try(now)));
                prop_assert!(!standing.is_down() || !standing.is_admitting());
            }
        }

        #[test]
        fn every_word_is_some_standing(bits in any::<u64>()) {
            let standing = Standing::from_bits(bits);
            prop_assert_eq!(Standing::from_bits(standing.to_bits()), standing);
        }
    }
}
