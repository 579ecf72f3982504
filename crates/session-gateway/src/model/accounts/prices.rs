//! What requests cost, by a table that the operator can override.
//!
//! Prices are whole millionths of a US dollar per million tokens, so a price in dollars per million tokens is multiplied
//! by a million and nothing is rounded until the end, where a request's cost is rounded up. A budget must not be passed
//! by an error of ours, so whatever is not known counts as the dearest that is: a model that the table does not name, a
//! speed without a factor.

use serde::{Deserialize, Serialize};

use super::list_prices::{self, DEAREST_FAST};
use super::model_name::ModelName;
use crate::error::{GatewayError, GatewayErrorKind};
use crate::model::usage::Consumption;

/// What a search of the provider's own search tool costs: 10 dollars for a thousand.
const SEARCH: u64 = 10_000;
/// What cloud providers take for a request that stays in one region, and the vendor for one that stays in the US.
const REGIONAL_PERCENT: u64 = 110;
/// The end of a pattern that stands for every name that begins like it.
const ANY: char = '*';

/// What a model's tokens cost, in millionths of a US dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Input that is neither read from nor written to the cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache for five minutes.
    pub cache_write: u64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: u64,
}

impl Rates {
    fn each(&self) -> [u64; 5] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
        ]
    }

    /// The dearer of both, each kind of token by itself.
    fn dearer(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }

    /// In millionths of a millionth of a dollar.
    fn of(&self, used: &Consumption) -> u128 {
        let tokens = used.tokens;
        let for_an_hour = tokens.cache_creation_1h.min(tokens.cache_creation);
        [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_creation - for_an_hour, self.cache_write),
            (for_an_hour, self.cache_write_1h),
        ]
        .into_iter()
        .map(|(tokens, rate)| u128::from(tokens) * u128::from(rate))
        .fold(0, u128::saturating_add)
    }
}

/// What a model costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The price of a token.
    pub rates: Rates,
    /// Another price of every token of a request whose prompt is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_prompt: Option<LongPrompt>,
    /// What the provider's fast mode costs, in percent of the rates.
    #[serde(default = "dearest_fast")]
    pub fast_percent: u64,
}

fn dearest_fast() -> u64 {
    DEAREST_FAST
}

/// The price of requests with a long prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompt {
    /// The longest prompt that is not long, in tokens of all kinds.
    pub over: u64,
    /// The price of a token.
    pub rates: Rates,
}

impl ModelPrice {
    /// Rates that hold for prompts of every length.
    pub fn flat(rates: Rates) -> Self {
        Self {
            rates,
            long_prompt: None,
            fast_percent: DEAREST_FAST,
        }
    }

    fn dearer(&self, other: &Self) -> Self {
        let long = |price: &Self| price.long_prompt.map_or(price.rates, |long| long.rates);
        Self {
            rates: long(self).dearer(&long(other)),
            long_prompt: None,
            fast_percent: self.fast_percent.max(other.fast_percent),
        }
    }

    /// In millionths of a dollar, rounded up.
    fn cost(&self, used: &Consumption, regional: bool) -> u64 {
        let rates = match self.long_prompt {
            Some(long) if used.tokens.prompt() > long.over => long.rates,
            _ => self.rates,
        };
        let mut cost = rates.of(used);
        if used.fast {
            cost = percent(cost, self.fast_percent);
        }
        if regional || used.us_only {
            cost = percent(cost, REGIONAL_PERCENT);
        }
        let searches = u128::from(used.tokens.searches) * u128::from(SEARCH);
        let cost = cost.div_ceil(1_000_000).saturating_add(searches);
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// Why no account could be kept with it.
    fn fault(&self) -> Option<&'static str> {
        let dearer = |more: &Rates, less: &Rates| more.each().iter().zip(less.each()).all(|(m, l)| *m >= l);
        if self.fast_percent < 100 {
            Some("its fast mode is cheaper than its rates")
        } else if self.rates.cache_write_1h < self.rates.cache_write {
            Some("writing to the cache for an hour is cheaper than for five minutes")
        } else if self
            .long_prompt
            .is_some_and(|long| !dearer(&long.rates, &self.rates))
        {
            Some("a token of a long prompt is cheaper than one of a short prompt")
        } else if self
            .long_prompt
            .is_some_and(|long| long.rates.cache_write_1h < long.rates.cache_write)
        {
            Some("writing to the cache for an hour is cheaper than for five minutes")
        } else {
            None
        }
    }
}

fn percent(cost: u128, percent: u64) -> u128 {
    cost.saturating_mul(u128::from(percent)).div_ceil(100)
}

/// Which model costs what.
///
/// A pattern is a model's name in the vendor's spelling, which also stands for its dated and versioned names:
/// `claude-opus-4` is `claude-opus-4-20250514` and `claude-opus-4@20250514`, and not `claude-opus-4-8`. With a `*` at
/// its end it is every name that begins like it, and `*` alone is every model that no other pattern names. The longest
/// pattern counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    rows: Vec<(String, ModelPrice)>,
    fallback: ModelPrice,
}

impl Default for PriceTable {
    /// The list prices of the vendor, see `docs/guides/providers.md`.
    fn default() -> Self {
        let rows = list_prices::rows();
        let fallback = dearest(&rows);
        Self { rows, fallback }
    }
}

impl PriceTable {
    /// This table with other or further prices. Unless they have one for `*`, a model without a price costs what the
    /// dearest of the whole table does, kind of token by kind of token.
    ///
    /// # Errors
    /// `InvalidPrices` for a pattern that no name can match, and for prices that would let an account fall as it grows.
    pub fn with_overrides(
        mut self,
        overrides: impl IntoIterator<Item = (String, ModelPrice)>,
    ) -> Result<Self, GatewayError> {
        for (pattern, price) in overrides {
            if let Some(fault) = fault_of_pattern(&pattern).or_else(|| price.fault()) {
                return Err(refused(&pattern, fault));
            }
            match self.rows.iter_mut().find(|(known, _)| *known == pattern) {
                Some(row) => row.1 = price,
                None => self.rows.push((pattern, price)),
            }
        }
        self.fallback = dearest(&self.rows);
        Ok(self)
    }

    /// What a request cost, in millionths of a dollar. Of its names the first that the table knows counts; none need be.
    pub(crate) fn cost(&self, names: &[Option<&ModelName>], used: &Consumption) -> u64 {
        let regional = names.iter().flatten().any(|name| name.is_regional());
        let known = names.iter().flatten().find_map(|name| self.row(name.id()));
        known.unwrap_or(&self.fallback).cost(used, regional)
    }

    fn row(&self, id: &str) -> Option<&ModelPrice> {
        self.rows
            .iter()
            .filter(|(pattern, _)| matches(pattern, id))
            .max_by_key(|(pattern, _)| pattern.trim_end_matches(ANY).len())
            .map(|(_, price)| price)
    }
}

fn dearest(rows: &[(String, ModelPrice)]) -> ModelPrice {
    rows.iter()
        .map(|(_, price)| *price)
        .reduce(|dearest, price| dearest.dearer(&price))
        .unwrap_or(ModelPrice::flat(Rates::default()))
}

/// Whether the pattern stands for the name.
fn matches(pattern: &str, id: &str) -> bool {
    if let Some(start) = pattern.strip_suffix(ANY) {
        return id.starts_with(start);
    }
    let Some(rest) = id.strip_prefix(pattern) else {
        return false;
    };
    match rest.strip_prefix('-') {
        None => !rest.starts_with(|next: char| next.is_ascii_alphanumeric()),
        // A short number is the next part of a version, so this is another model; a date is none.
        Some(more) => !(1..=3).contains(&more.bytes().take_while(u8::is_ascii_digit).count()),
    }
}

fn fault_of_pattern(pattern: &str) -> Option<&'static str> {
    let start = pattern.strip_suffix(ANY).unwrap_or(pattern);
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:@_[]".contains(&byte);
    if pattern.is_empty() || pattern.len() > 256 {
        Some("its name is empty or too long")
    } else if !start.bytes().all(plain) {
        Some("its name is not in the vendor's spelling, such as claude-opus-4-8")
    } else {
        None
    }
}

fn refused(pattern: &str, fault: &'static str) -> GatewayError {
    let shown: String = pattern.chars().take(80).flat_map(char::escape_debug).collect();
    GatewayError::new(
        GatewayErrorKind::InvalidPrices,
        "read the model prices",
        format!("the price of a model cannot be used: {fault}"),
    )
    .with_context("model", shown)
    .with_hint("give prices in millionths of a dollar per million tokens: 3 dollars are 3000000")
}

#[cfg(test)]
mod tests;
