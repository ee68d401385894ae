//! A report as one HTML page: tables and an inline SVG; no script, no font, nothing fetched.

use std::fmt::Write;

use super::{Distribution, LoadReport};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b2733;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:right;\
border-bottom:1px solid #dde3e8;font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}\
svg{width:100%;height:auto}svg text{font-size:12px;fill:#5a6a78}\
@media(prefers-color-scheme:dark){body{color:#dbe4ec;background:#12181e}td,th{border-color:#2b3742}\
svg text{fill:#93a4b3}}";

/// Colours of the curves, readable on light and dark.
const COLOURS: [&str; 3] = ["#0a7fb5", "#c25b12", "#3c8d3c"];

/// The drawing's size and its plot's margins, in SVG units.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 40.0;

/// The curve ends at this many nines: 99.999 %.
const NINES_MAX: f64 = 5.0;

/// The page.
pub(super) fn page(report: &LoadReport) -> String {
    let mut out = String::with_capacity(8 << 10);
    let title = format!("{} on {}", report.mode, escaped(&report.url));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>"
    );
    put_counts(&mut out, report);
    let mut times = vec![("latency", &report.latency)];
    if let Some(streams) = &report.streams {
        times.extend([("first event", &streams.first_event), ("gap", &streams.gap)]);
    }
    if let Some(idle) = &report.idle {
        times.push(("after idling", &idle.awakened));
    }
    times.retain(|(_, times)| times.count > 0);
    put_times(&mut out, &times);
    put_drawing(&mut out, &times);
    out.push_str("</body></html>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put_row(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
}

fn put_counts(out: &mut String, report: &LoadReport) {
    out.push_str("<table>");
    let load = format!(
        "{} {}, {} connections, {} threads, {:.1} s",
        report.method, report.mode, report.connections, report.threads, report.seconds
    );
    put_row(out, "load", &load);
    put_row(out, "replies", &format!("{} ({:.0}/s)", report.finished, report.requests_per_second));
    let mebibytes = report.body_bytes_per_second / f64::from(1 << 20);
    put_row(out, "body bytes", &format!("{} ({mebibytes:.1} MiB/s)", report.body_bytes));
    put_row(out, "connections made", &report.connections_made.to_string());
    for (status, count) in &report.by_status {
        put_row(out, &format!("status {status}"), &count.to_string());
    }
    for (kind, count) in &report.errors {
        put_row(out, &format!("failed: {kind}"), &count.to_string());
    }
    if report.unfinished > 0 {
        put_row(out, "broken off at the end", &report.unfinished.to_string());
    }
    if let Some(streams) = &report.streams {
        let events = format!("{} ({:.0}/s)", streams.events, streams.events_per_second);
        put_row(out, "events", &events);
    }
    if let Some(idle) = &report.idle {
        put_row(out, "held", &format!("{} for {:.1} s", idle.held, idle.hold_seconds));
        put_row(out, "lost while held", &idle.lost.to_string());
    }
    out.push_str("</table>");
}

fn put_times(out: &mut String, times: &[(&str, &Distribution)]) {
    out.push_str(
        "<h2>Times in milliseconds</h2><table><tr><th></th><th>count</th><th>mean</th><th>p50</th>\
         <th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>",
    );
    for (name, times) in times {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td>", times.count);
        let mean = times.mean_us.round() as u64;
        for time in [mean, times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us] {
            let _ = write!(out, "<td>{}</td>", milliseconds(time));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

fn milliseconds(time_us: u64) -> String {
    let time = time_us as f64 / 1000.0;
    if time < 10.0 { format!("{time:.3}") } else { format!("{time:.0}") }
}

/// Time (logarithmic) over quantile (by nines): the tail gets the room it deserves.
fn put_drawing(out: &mut String, times: &[(&str, &Distribution)]) {
    let shortest = times.iter().map(|(_, times)| times.min_us).min().unwrap_or(1).max(1) as f64;
    let longest = times.iter().map(|(_, times)| times.max_us).max().unwrap_or(1).max(1) as f64;
    let (low, high) = (shortest.log10().floor(), longest.log10().ceil());
    let decades = (high - low).max(1.0);
    let x = |quantile: f64| {
        let nines = (-(1.0 - quantile).max(f64::MIN_POSITIVE).log10()).min(NINES_MAX);
        LEFT + nines / NINES_MAX * (WIDTH - LEFT - RIGHT)
    };
    let y = |time_us: f64| {
        HEIGHT - BOTTOM - (time_us.max(1.0).log10() - low) / decades * (HEIGHT - TOP - BOTTOM)
    };
    let _ = write!(
        out,
        "<h2>Distribution</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"time over quantile, both logarithmic\">"
    );
    let mut line = |x1: f64, y1: f64, x2: f64, y2: f64| {
        let _ = write!(
            out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#8aa\" stroke-opacity=\".35\"/>"
        );
    };
    let quantiles = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    for quantile in quantiles {
        line(x(quantile), TOP, x(quantile), HEIGHT - BOTTOM);
    }
    let powers = 0..=decades as i32;
    for power in powers.clone() {
        let height = y(10_f64.powf(low + f64::from(power)));
        line(LEFT, height, WIDTH - RIGHT, height);
    }
    for (quantile, label) in
        quantiles.iter().zip(["0", "50", "90", "99", "99.9", "99.99", "99.999 %"])
    {
        let (x, y) = (x(*quantile), HEIGHT - BOTTOM + 18.0);
        let anchor = if label.ends_with('%') { "end" } else { "middle" };
        let _ =
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>");
    }
    for power in powers {
        let time = 10_f64.powf(low + f64::from(power));
        let (x, y) = (LEFT - 8.0, y(time) + 4.0);
        let label = milliseconds(time as u64);
        let label = if label.contains('.') {
            label.trim_end_matches('0').trim_end_matches('.')
        } else {
            &label
        };
        let _ =
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{label} ms</text>");
    }
    for (place, ((name, times), colour)) in times.iter().zip(COLOURS).enumerate() {
        let mut points = String::with_capacity(16 * times.curve.len());
        for (quantile, time) in &times.curve {
            let _ = write!(points, "{:.1},{:.1} ", x(*quantile), y(*time as f64));
        }
        let height = TOP + 16.0 + 18.0 * place as f64;
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{height:.1}\" style=\"fill:{colour}\">{name}</text>",
            points.trim_end(),
            LEFT + 12.0
        );
    }
    out.push_str("</svg>");
}
