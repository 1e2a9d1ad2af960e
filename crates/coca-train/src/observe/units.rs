//! Numbers for people.

use std::time::{Duration, UNIX_EPOCH};

/// `1 h 02 min`, `3 min 20 s` or `12 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "unknown".into();
    }
    let seconds = seconds.max(0.0).round() as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest:02} s"),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h"),
    }
}

/// `12,345,678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Four significant digits, with an exponent where zeros would pile up.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs();
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// A fraction as per cent.
pub fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// `15.6 GiB`.
pub fn bytes(number: u64) -> String {
    let mut size = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return match unit {
                "B" => format!("{size} B"),
                _ => format!("{size:.1} {unit}"),
            };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// `2026-11-24 11:41 UTC`, of Unix time.
pub fn date(unix: f64) -> String {
    // Year 9999, the last that has this form.
    const LAST: f64 = 253_402_300_799.0;
    let time = UNIX_EPOCH
        + Duration::from_secs_f64(if unix.is_finite() {
            unix.clamp(0.0, LAST)
        } else {
            0.0
        });
    let text = humantime::format_rfc3339_seconds(time).to_string();
    match text.split_once('T') {
        Some((day, time)) => format!("{day} {} UTC", time.get(..5).unwrap_or(time)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.4, 59.6, 200.0, 3720.0, 100_000.0, f64::NAN].map(duration),
            [
                "0 s",
                "1 min 00 s",
                "3 min 20 s",
                "1 h 02 min",
                "1 d 03 h",
                "unknown"
            ]
        );
        assert_eq!(
            [0, 999, 1000, 12_345_678].map(count),
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!(
            [0.0, 1.0, 12.3456, 0.00123456, 1.5e-7, 123_456.0, 2e9].map(number),
            ["0", "1", "12.35", "0.001235", "1.50e-7", "123456", "2.00e9"]
        );
        assert_eq!(
            [512, 2048, 16 << 30].map(bytes),
            ["512 B", "2.0 KiB", "16.0 GiB"]
        );
        assert_eq!(date(0.0), "1970-01-01 00:00 UTC");
        assert_eq!(date(1e300), "9999-12-31 23:59 UTC");
        assert_eq!(date(f64::NAN), "1970-01-01 00:00 UTC");
    }
}
