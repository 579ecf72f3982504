//! The built-in prices: what the vendor lists in public.
//!
//! | source | read | gives |
//! |---|---|---|
//! | the vendor's page "Pricing" (`platform.claude.com/docs/en/about-claude/pricing`) | 2026-11-21 | all rows but those named below |
//! | the vendor's page of each model (`platform.claude.com/docs/en/models/NAME/overview`) | 2026-11-21 | Opus 5.5, Sonnet 5.5, Sonnet 5, Haiku 5.5 |
//! | the vendor's page "Fast mode" | 2026-11-21 | the percentages: six times the rates for Opus 4.6 and 4.7 |
//!
//! Copies of those pages were read, not the pages as they are served. Not verified there: the cache reads of Sonnet 5.5
//! at 0.10 dollars since 2026-10-07, which two price lists of others report and the copy does not, so the table keeps
//! 0.20; that fast mode of Opus 4.8 and later costs twice the rates, which others report; that a search costs 10 dollars
//! a thousand. What cloud providers and gateways take is theirs to say: the table has the vendor's list, with ten percent
//! on top for a name that binds a request to a region.

use super::prices::{LongPrompt, ModelPrice, Rates};

/// The dearest factor of a fast mode, and so the one of models without a known one, in percent.
pub(super) const DEAREST_FAST: u64 = 600;

/// Names with input, output, cache read, cache write and cache write for an hour, in thousandths of a dollar per million
/// tokens, and the percentage of the fast mode.
type Row = (&'static [&'static str], [u64; 5], u64);

const ROWS: &[Row] = &[
    (
        &["claude-fable-5-1", "claude-mythos-5-1"],
        [10_000, 50_000, 250, 12_500, 20_000],
        DEAREST_FAST,
    ),
    (
        &["claude-fable-5", "claude-mythos-5"],
        [10_000, 50_000, 1_000, 12_500, 20_000],
        DEAREST_FAST,
    ),
    (&["claude-opus-5-5"], [4_000, 20_000, 200, 5_000, 8_000], 200),
    (
        &["claude-opus-5", "claude-opus-4-8"],
        [5_000, 25_000, 500, 6_250, 10_000],
        200,
    ),
    (
        &["claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5"],
        [5_000, 25_000, 500, 6_250, 10_000],
        DEAREST_FAST,
    ),
    (
        &[
            "claude-opus-4-1",
            "claude-opus-4",
            "claude-opus-4-0",
            "claude-3-opus",
        ],
        [15_000, 75_000, 1_500, 18_750, 30_000],
        DEAREST_FAST,
    ),
    (
        &["claude-sonnet-5-5", "claude-sonnet-5"],
        [2_000, 10_000, 200, 2_500, 4_000],
        DEAREST_FAST,
    ),
    (
        &[
            "claude-sonnet-4-6",
            "claude-sonnet-4-5",
            "claude-sonnet-4",
            "claude-sonnet-4-0",
            "claude-3-7-sonnet",
            "claude-3-5-sonnet",
        ],
        [3_000, 15_000, 300, 3_750, 6_000],
        DEAREST_FAST,
    ),
    (
        &["claude-haiku-4-5"],
        [1_000, 5_000, 100, 1_250, 2_000],
        DEAREST_FAST,
    ),
    (
        &["claude-3-5-haiku"],
        [800, 4_000, 80, 1_000, 1_600],
        DEAREST_FAST,
    ),
    (&["claude-3-haiku"], [250, 1_250, 30, 300, 500], DEAREST_FAST),
];

pub(super) fn rows() -> Vec<(String, ModelPrice)> {
    let mut rows: Vec<_> = ROWS
        .iter()
        .flat_map(|(names, prices, fast_percent)| {
            let price = ModelPrice {
                rates: rates(*prices),
                long_prompt: None,
                fast_percent: *fast_percent,
            };
            names.iter().map(move |name| ((*name).to_owned(), price))
        })
        .collect();
    // The one model whose price depends on the prompt.
    let haiku = ModelPrice {
        rates: rates([100, 500, 10, 125, 200]),
        long_prompt: Some(LongPrompt {
            over: 100_000,
            rates: rates([500, 2_500, 50, 625, 1_000]),
        }),
        fast_percent: DEAREST_FAST,
    };
    rows.push(("claude-haiku-5-5".to_owned(), haiku));
    rows
}

fn rates(thousandths: [u64; 5]) -> Rates {
    let [input, output, cache_read, cache_write, cache_write_1h] = thousandths.map(|price| price * 1_000);
    Rates {
        input,
        output,
        cache_read,
        cache_write,
        cache_write_1h,
    }
}
