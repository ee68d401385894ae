//! What is read from streams as they pass.

use proptest::prelude::*;
use serde_json::Value;
use tidegate_dialect::{Dialect, ErrorKind, ErrorText, Operation, StreamWatch, Usage, heartbeat};

const CHAT: &[&str] = &[
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\", {\\\"error\\\":1, \\\"usage\\\":{\\\"prompt_tokens\\\":9}\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
];

const RESPONSES: &[&str] = &[
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"status\":\"in_progress\",\"error\":null,\"usage\":null}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"response.completed\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"error\":null,\"usage\":{\"input_tokens\":37,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":11,\"total_tokens\":48},\"metadata\":{}}}\n\n",
];

const MESSAGES: &[&str] = &[
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"event: message_stop\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

const IMAGES: &[&str] = &[
    "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA\"}\n\n",
    "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA\",\"usage\":{\"total_tokens\":100,\"input_tokens\":50,\"output_tokens\":50}}\n\n",
];

const SPEECH: &[&str] = &[
    "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n",
    "data: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":3,\"total_tokens\":17}}\n\n",
];

const STREAMS: &[(Dialect, Operation, &[&str])] = &[
    (Dialect::OpenAi, Operation::ChatCompletions, CHAT),
    (Dialect::OpenAi, Operation::Responses, RESPONSES),
    (Dialect::Anthropic, Operation::Messages, MESSAGES),
    (Dialect::OpenAi, Operation::ImageGenerations, IMAGES),
    (Dialect::OpenAi, Operation::AudioTranscriptions, SPEECH),
];

fn watched(dialect: Dialect, operation: Operation, frames: &[&str]) -> StreamWatch {
    let mut watch = StreamWatch::new(dialect, operation);
    for frame in frames {
        watch.observe(frame.as_bytes());
    }
    watch
}

fn chat(frames: &[&str]) -> StreamWatch {
    watched(Dialect::OpenAi, Operation::ChatCompletions, frames)
}

fn responses(frames: &[&str]) -> StreamWatch {
    watched(Dialect::OpenAi, Operation::Responses, frames)
}

fn messages(frames: &[&str]) -> StreamWatch {
    watched(Dialect::Anthropic, Operation::Messages, frames)
}

#[expect(clippy::unnecessary_wraps, reason = "stands for what it is compared with")]
fn usage(input: u64, output: u64, cached: u64) -> Option<Usage> {
    Some(Usage { input, output, cached })
}

#[test]
fn watch_stays_small() {
    assert!(size_of::<StreamWatch>() <= 96);
}

#[test]
fn whole_streams_finish_without_error_and_say_what_they_cost() {
    let costs =
        [usage(19, 10, 4), usage(37, 11, 0), usage(37, 15, 7), usage(50, 50, 0), usage(14, 3, 0)];
    for ((dialect, operation, frames), cost) in STREAMS.iter().zip(costs) {
        let watch = watched(*dialect, *operation, frames);
        assert!(watch.finished() && !watch.errored(), "{operation:?}");
        assert_eq!(watch.usage(), cost, "{operation:?}");
    }
}

#[test]
fn streams_cut_before_their_marker_are_not_finished() {
    for (dialect, operation, frames) in STREAMS {
        let marker = match operation {
            Operation::ChatCompletions => 3,
            _ => frames.len() - 1,
        };
        for len in 0..=marker {
            let watch = watched(*dialect, *operation, &frames[..len]);
            assert!(!watch.finished() && !watch.errored(), "{operation:?} {len}");
        }
    }
}

#[test]
fn chat_is_finished_by_a_finish_reason_alone_and_by_done_alone() {
    assert!(chat(&CHAT[..4]).finished());
    assert!(chat(&["data: [DONE]\n\n"]).finished());
    assert!(chat(&["data:[DONE]\r\n\r\n"]).finished());
    assert!(
        chat(&["data: {\"choices\":[{\"text\":\"a\",\"finish_reason\" : \"length\"}]}\n\n"])
            .finished()
    );
    assert!(!chat(&["data: {\"choices\":[{\"finish_reason\":\"\"}]}\n\n"]).finished());
}

#[test]
fn early_cancel_of_a_message_is_billable() {
    assert_eq!(messages(&MESSAGES[..1]).usage(), usage(37, 1, 7));
    assert_eq!(messages(&[]).usage(), None);
}

#[test]
fn message_delta_usage_replaces_and_is_never_summed() {
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":30,\"cache_read_input_tokens\":0,\"output_tokens\":40}}\n\n";
    assert_eq!(messages(&[MESSAGES[0], MESSAGES[5], delta]).usage(), usage(35, 40, 0));
}

#[test]
fn usage_repeated_in_every_chunk_counts_once() {
    let chunk = "data: {\"choices\":[{\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    assert_eq!(chat(&[chunk, chunk, chunk]).usage(), usage(3, 2, 0));
}

#[test]
fn errors_of_the_provider_are_seen_in_each_dialect() {
    for frame in [
        "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n",
        "data: {\"id\":\"1\",\"error\":{\"code\":502},\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
        "event: error\ndata: {\"detail\":\"x\"}\n\n",
        "data: {\"error\": \"text\"}\n\n",
    ] {
        let watch = chat(&[frame]);
        assert!(watch.errored() && watch.finished(), "{frame}");
    }
    for frame in [
        "event: error\ndata: {\"type\":\"error\",\"code\":\"x\"}\n\n",
        "data: {\"type\":\"error\",\"sequence_number\":2,\"error\":{}}\n\n",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{}}\n\n",
        "data: {\"error\":{\"message\":\"x\"}}\n\n",
    ] {
        let watch = responses(&[frame]);
        assert!(watch.errored() && watch.finished(), "{frame}");
    }
    for frame in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "data: {\"type\":\"error\",\"error\":{}}\n\n",
    ] {
        let watch = messages(&[frame]);
        assert!(watch.errored() && watch.finished(), "{frame}");
    }
}

#[test]
fn failures_inside_an_answer_are_no_error_of_the_stream() {
    for frame in [
        "data: {\"choices\":[{\"delta\":{\"tools\":[{\"error\":{\"code\":1}}]},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"error\":null,\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"data: {\\\"error\\\":1}\"}}]}\n\n",
        ": {\"error\":{}}\n\n",
        "id: 1\nretry: 5\n\n",
    ] {
        assert!(!chat(&[frame]).errored(), "{frame}");
    }
}

#[test]
fn incomplete_response_is_finished() {
    let frame = "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n";
    let watch = responses(&[frame]);
    assert!(watch.finished() && !watch.errored());
    assert_eq!(watch.usage(), usage(1, 2, 0));
}

#[test]
fn types_are_read_from_the_data_when_events_are_not_named() {
    let watch = responses(&[
        "data: {\"sequence_number\":1,\"response\":{\"type\":\"no\"},\"type\":\"response.completed\"}\n\n",
    ]);
    assert!(watch.finished());
    assert!(messages(&["data: {\"type\":\"message_stop\"}\n\n"]).finished());
    assert!(!messages(&["data: {\"type\":7}\n\n", "data: \"message_stop\"\n\n"]).finished());
}

#[test]
fn fields_of_a_frame_may_come_in_any_order_and_data_in_several_lines() {
    assert!(messages(&["data: {}\nevent: message_stop\n\n"]).finished());
    let split = "data: {\"choices\":[{\ndata: \"finish_reason\":\ndata: \"stop\"}],\ndata: \"usage\":{\"prompt_tokens\":1,\ndata: \"completion_tokens\":2}}\n\n";
    let watch = chat(&[split]);
    assert!(watch.finished());
    assert_eq!(watch.usage(), usage(1, 2, 0));
}

#[test]
fn operations_without_a_known_marker_count_as_finished() {
    assert!(StreamWatch::new(Dialect::OpenAi, Operation::Other).finished());
}

#[test]
fn error_event_continues_the_count_of_a_response() {
    let error = ErrorText {
        status: 504,
        kind: ErrorKind::Timeout,
        message: "late",
        code: "deadline_between_tokens",
        param: None,
        request_id: "r",
    };
    for (frames, number) in [(&RESPONSES[..0], 0), (&RESPONSES[..2], 2)] {
        let event = String::from_utf8(responses(frames).error_event(&error)).unwrap();
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["sequence_number"], number);
    }
}

#[test]
fn heartbeats_are_whole_frames_that_mean_nothing() {
    for (dialect, operation, frames) in STREAMS {
        let beat = std::str::from_utf8(heartbeat(*dialect)).unwrap();
        assert!(beat.ends_with("\n\n"));
        let plain = watched(*dialect, *operation, &frames[..1]);
        let beaten = watched(*dialect, *operation, &[beat, frames[0], beat]);
        assert_eq!(format!("{plain:?}"), format!("{beaten:?}"));
    }
    insta::assert_snapshot!(std::str::from_utf8(heartbeat(Dialect::OpenAi)).unwrap(), @": keep-alive");
    insta::assert_snapshot!(std::str::from_utf8(heartbeat(Dialect::Anthropic)).unwrap(), @r#"
    event: ping
    data: {"type": "ping"}
    "#);
}

proptest! {
    #[test]
    fn any_grouping_of_frames_and_any_line_ends_tell_the_same(
        which in 0..STREAMS.len(), len in any::<prop::sample::Index>(), groups in prop::collection::vec(1..4_usize, 8), ends in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let (dialect, operation, frames) = STREAMS[which];
        let frames = &frames[..=len.index(frames.len())];
        let one_by_one = watched(dialect, operation, frames);
        let mut grouped = StreamWatch::new(dialect, operation);
        let mut rest = frames;
        for group in groups {
            let (now, later) = rest.split_at(group.min(rest.len()));
            grouped.observe(now.concat().replace('\n', ends).as_bytes());
            rest = later;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(format!("{one_by_one:?}"), format!("{grouped:?}"));
    }

    #[test]
    fn any_bytes_are_watched_without_panic_and_never_undo_an_end(
        which in 0..STREAMS.len(), noise in prop::collection::vec(any::<u8>(), 0..60),
        pieces in prop::collection::vec(prop::sample::select(vec![
            "data:", "data: ", "event: ", "error", "\n", "\r", "{", "}", "\"error\":", "\"usage\":", "{\"prompt_tokens\":1}", "\"finish_reason\"", ":", "null", "\"type\":", "\"", "\\", "[DONE]", "\"sequence_number\":", "18446744073709551615",
        ]), 0..20),
    ) {
        let (dialect, operation, frames) = STREAMS[which];
        let mut watch = watched(dialect, operation, frames);
        watch.observe(&noise);
        watch.observe(pieces.concat().as_bytes());
        prop_assert!(watch.finished());
        let mut fresh = StreamWatch::new(dialect, operation);
        fresh.observe(&noise);
        prop_assert!(fresh.usage().is_none() || noise.len() > 10);
    }
}
