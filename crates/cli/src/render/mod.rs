//! Values as text for people. Everything here is pure: no streams, no clock, no terminal; what comes from a session is
//! made safe here and nowhere later.

mod diff;
mod doors;
mod lines;
mod outcome;
mod servers;
mod session;
mod table;
mod timeline;
mod tool;
mod usage;

use std::time::Duration;

pub use self::diff::{changed_files, patch};
pub use self::doors::{activity, allowed, denial_reason, stall};
pub use self::lines::line_diff;
pub use self::outcome::outcome;
pub use self::servers::{server_remarks, server_state, servers, short_address, tools};
pub use self::session::{Closely, age, details, network, short, short_id, state, workspace};
pub use self::table::Table;
pub use self::timeline::{Clock, Timeline};
pub use self::usage::{budget, spending, usd, used_up};

/// A span of time in at most two units: `0.4s`, `12s`, `3m05s`, `2h10m`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => {
            let tenths = span.as_millis() / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A count with its noun in the right number.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("{number} {noun}")
    } else {
        format!("{} {noun}s", thousands(number))
    }
}

/// A number with separators: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        for (millis, text) in [
            (0, "0.0s"),
            (449, "0.4s"),
            (9_999, "9.9s"),
            (12_300, "12s"),
            (185_000, "3m05s"),
            (7_800_000, "2h10m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "turn"), "1 turn");
        assert_eq!(count(1000, "turn"), "1,000 turns");
    }
}
