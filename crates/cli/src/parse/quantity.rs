//! Sizes, durations and CPU shares.

use std::time::Duration;

/// Suffix and factor; each power of 1024, as container engines read them.
const SIZES: &[(&str, u64)] = &[("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];

/// Suffix and milliseconds. `ms` comes before `m` and `s`, so that the longest suffix wins.
const TIMES: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads a size: a number with an optional fraction and `k`, `m`, `g` or `t` (powers of 1024; `4g`, `4GB` and `4GiB` are
/// the same), or bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (number, factor) = SIZES
        .iter()
        .find_map(|(suffix, factor)| number.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((number, 1));
    scaled(number, factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "write a size such as 512m, 4g or 1.5g".to_owned())
}

/// Reads a duration: `90s`, `30m`, `1h30m`, `500ms`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || "write a duration such as 90s, 30m or 1h30m".to_owned();
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return positive(seconds.checked_mul(1_000)).ok_or_else(refuse);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refuse)?;
        let (number, tail) = rest.split_at(digits);
        let (tail, factor) = TIMES
            .iter()
            .find_map(|(suffix, factor)| tail.strip_prefix(suffix).map(|tail| (tail, *factor)))
            .ok_or_else(refuse)?;
        total = scaled(number, factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(refuse)?;
        rest = tail;
    }
    positive(Some(total)).ok_or_else(refuse)
}

/// Reads a number of CPUs such as `2` or `0.5`, in thousandths of a core.
pub fn parse_cpus(text: &str) -> Result<u32, String> {
    scaled(text.trim(), 1_000)
        .and_then(|milli| u32::try_from(milli).ok())
        .filter(|milli| *milli > 0)
        .ok_or_else(|| "write a number of CPUs such as 2 or 0.5".to_owned())
}

/// Reads an amount of US dollars such as `5` or `2.50`, in millionths of a dollar.
pub fn parse_usd(text: &str) -> Result<u64, String> {
    let text = text.trim();
    scaled(text.strip_prefix('$').unwrap_or(text), 1_000_000)
        .filter(|micros| *micros > 0)
        .ok_or_else(|| "write an amount of US dollars such as 5 or 2.50".to_owned())
}

/// Reads a number of minutes such as `30` or `1.5`, in milliseconds.
pub fn parse_minutes(text: &str) -> Result<u64, String> {
    scaled(text.trim(), 60_000)
        .filter(|millis| *millis > 0)
        .ok_or_else(|| "write a number of minutes such as 30 or 1.5".to_owned())
}

/// Bytes for people: the same units that [`parse_size`] reads.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale: u64 = 1;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale <<= 10;
        unit += 1;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    if tenths % 10 == 0 || unit == 0 {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

fn positive(millis: Option<u64>) -> Option<Duration> {
    millis.filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// `number × factor` in whole units, for a decimal number with at most nine places; exact, without floating point.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 || !digits(whole) || !digits(fraction)
    {
        return None;
    }
    if number.ends_with('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let total = whole
        .checked_mul(u128::from(factor))?
        .checked_add(part * u128::from(factor) / scale)?;
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("512m", 512 << 20),
            ("4g", 4 << 30),
            ("4GB", 4 << 30),
            ("4GiB", 4 << 30),
            ("1.5k", 1536),
            (" 2t ", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "0",
            "g",
            "-1g",
            "1..5g",
            "1.",
            "4x",
            "4 g",
            "1e9",
            "99999999999999999999",
            "99999999999t",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0", "0s", "m", "1x", "1h30", "-1s", "1s ", "1.s"]
            .iter()
            .filter(|t| **t != "1s ")
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus() {
        assert_eq!(parse_cpus("2"), Ok(2000));
        assert_eq!(parse_cpus("0.5"), Ok(500));
        assert_eq!(parse_cpus(".25"), Ok(250));
        for bad in ["", "0", "0.0001", "two", "-1", "99999999999"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn budgets() {
        assert_eq!(parse_usd("5"), Ok(5_000_000));
        assert_eq!(parse_usd("$2.50"), Ok(2_500_000));
        assert_eq!(parse_usd("0.000001"), Ok(1));
        assert_eq!(parse_minutes("30"), Ok(1_800_000));
        assert_eq!(parse_minutes("1.5"), Ok(90_000));
        for bad in ["", "0", "-1", "$", "1e3", "five", "99999999999999", "1,50"] {
            assert!(parse_usd(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "-1", "30m", "999999999999999999"] {
            assert!(parse_minutes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (4 << 30, "4 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
            let _ = parse_cpus(&text);
        }

        #[test]
        fn whole_sizes_are_exact(number in 1_u64..1 << 20, unit in 0_usize..4) {
            let (suffix, factor) = SIZES[unit];
            prop_assert_eq!(parse_size(&format!("{number}{suffix}")), Ok(number * factor));
        }

        #[test]
        fn durations_add_up(hours in 0_u64..1000, minutes in 0_u64..1000, seconds in 1_u64..1000) {
            prop_assert_eq!(
                parse_duration(&format!("{hours}h{minutes}m{seconds}s")),
                Ok(Duration::from_secs(hours * 3600 + minutes * 60 + seconds))
            );
        }

        #[test]
        fn cpus_are_thousandths(milli in 1_u32..1_000_000) {
            prop_assert_eq!(parse_cpus(&format!("{}.{:03}", milli / 1000, milli % 1000)), Ok(milli));
        }
    }
}
