//! The price table: the right row, and sums that never fall.

use super::*;
use crate::model::usage::Tokens;
use proptest::prelude::*;

fn name(raw: &str) -> Option<ModelName> {
    ModelName::parse(raw)
}

fn used(input: u64, output: u64, cache_read: u64, cache_creation: u64) -> Consumption {
    Consumption {
        tokens: Tokens {
            input,
            output,
            cache_read,
            cache_creation,
            ..Tokens::default()
        },
        ..Consumption::default()
    }
}

/// What a million tokens of each kind cost, in dollars.
fn million(model: &str) -> u64 {
    let name = name(model);
    PriceTable::default().cost(
        &[name.as_ref()],
        &used(1_000_000, 1_000_000, 1_000_000, 1_000_000),
    ) / 10_000
}

#[test]
fn the_longest_pattern_that_names_the_model_counts() {
    for (model, cents) in [
        ("claude-opus-4-20250514", 11_025),
        ("claude-opus-4@20250514", 11_025),
        ("claude-opus-4-1-20250805", 11_025),
        ("claude-opus-4-8", 3_675),
        ("anthropic/claude-opus-4.8", 3_675),
        ("claude-opus-5", 3_675),
        ("claude-opus-5[1m]", 3_675),
        ("claude-opus-5-5", 2_920),
        ("claude-sonnet-4-5-20250929", 2_205),
        ("claude-3-5-haiku-latest", 588),
        ("claude-fable-5-1", 7_275),
        ("claude-fable-5", 7_350),
    ] {
        assert_eq!(million(model), cents, "{model}");
    }
}

#[test]
fn what_the_table_does_not_name_costs_the_dearest() {
    for model in [
        "claude-opus-4-9",
        "claude-opus-50",
        "claude-fable-5-2",
        "gpt-9",
        "claude",
    ] {
        assert_eq!(million(model), 11_025, "{model}");
    }
    assert_eq!(
        PriceTable::default().cost(&[], &used(1_000_000, 0, 0, 0)),
        15_000_000
    );
}

#[test]
fn the_first_known_name_counts() {
    let (unknown, sonnet, opus) = (name("profile-a1"), name("claude-sonnet-5"), name("claude-opus-5"));
    let table = PriceTable::default();
    let cost = |names: &[Option<&ModelName>]| table.cost(names, &used(1_000_000, 0, 0, 0));
    assert_eq!(cost(&[unknown.as_ref(), sonnet.as_ref()]), 2_000_000);
    assert_eq!(cost(&[opus.as_ref(), sonnet.as_ref()]), 5_000_000);
    assert_eq!(cost(&[None, sonnet.as_ref()]), 2_000_000);
}

#[test]
fn what_makes_a_request_dearer_is_added() {
    let table = PriceTable::default();
    let cost = |model: &str, used: &Consumption| table.cost(&[name(model).as_ref()], used);
    let mut million = used(1_000_000, 0, 0, 0);
    assert_eq!(cost("us.anthropic.claude-opus-5-v1:0", &million), 5_500_000);
    assert_eq!(cost("global.anthropic.claude-opus-5-v1:0", &million), 5_000_000);
    million.us_only = true;
    assert_eq!(cost("claude-opus-5", &million), 5_500_000);
    million.fast = true;
    assert_eq!(cost("claude-opus-5", &million), 11_000_000);
    million = used(0, 0, 0, 1_000_000);
    million.tokens.cache_creation_1h = 400_000;
    million.tokens.searches = 3;
    assert_eq!(cost("claude-sonnet-5", &million), 1_500_000 + 1_600_000 + 30_000);
    assert_eq!(cost("claude-haiku-5-5", &used(100_000, 0, 0, 0)), 10_000);
    assert_eq!(cost("claude-haiku-5-5", &used(100_000, 0, 1, 0)), 50_001);
}

#[test]
fn overrides_replace_add_and_set_what_the_unknown_costs() {
    let price = |input: u64| {
        ModelPrice::flat(Rates {
            input,
            ..Rates::default()
        })
    };
    let table = PriceTable::default()
        .with_overrides([
            ("claude-opus-5".to_owned(), price(1)),
            ("claude-opus-5-5".to_owned(), price(2)),
            ("local-*".to_owned(), price(3)),
        ])
        .unwrap();
    let cost =
        |table: &PriceTable, model: &str| table.cost(&[name(model).as_ref()], &used(1_000_000, 0, 0, 0));
    assert_eq!(cost(&table, "claude-opus-5"), 1);
    assert_eq!(cost(&table, "claude-opus-5-5-20260901"), 2);
    assert_eq!(cost(&table, "local-model:7b"), 3);
    assert_eq!(cost(&table, "other"), 15_000_000);
    let table = table.with_overrides([("*".to_owned(), price(0))]).unwrap();
    assert_eq!(cost(&table, "other"), 0);
    assert_eq!(cost(&table, "claude-opus-5"), 1);
}

#[test]
fn prices_that_keep_no_account_are_refused() {
    let base = ModelPrice::flat(Rates {
        input: 10,
        cache_write: 2,
        cache_write_1h: 3,
        ..Rates::default()
    });
    let mut short_lived = base;
    short_lived.rates.cache_write_1h = 1;
    let mut discount = base;
    discount.long_prompt = Some(LongPrompt {
        over: 5,
        rates: Rates {
            input: 9,
            ..base.rates
        },
    });
    let mut slow = base;
    slow.fast_percent = 99;
    for (pattern, price) in [
        ("", base),
        ("Claude", base),
        ("a*b", base),
        ("a b", base),
        ("m", short_lived),
        ("m", discount),
        ("m", slow),
    ] {
        let error = PriceTable::default()
            .with_overrides([(pattern.to_owned(), price)])
            .unwrap_err();
        assert_eq!(error.kind(), GatewayErrorKind::InvalidPrices, "{pattern:?}");
        assert!(error.hint().is_some());
    }
    for price in [
        base,
        ModelPrice {
            fast_percent: 100,
            ..base
        },
    ] {
        PriceTable::default()
            .with_overrides([("m".to_owned(), price)])
            .unwrap();
    }
}

#[test]
fn prices_are_read_from_an_operator_s_file() {
    let text = r#"{"rates":{"input":1,"output":2,"cache_read":3,"cache_write":4,"cache_write_1h":5}}"#;
    let price: ModelPrice = serde_json::from_str(text).unwrap();
    assert_eq!(price.fast_percent, DEAREST_FAST);
    assert!(serde_json::from_str::<ModelPrice>(&text.replace("\"rates\"", "\"rate\"")).is_err());
}

fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![0..100_000_000u64, any::<u64>()];
    (rate(), rate(), rate(), rate(), rate()).prop_map(|(input, output, cache_read, short, long)| Rates {
        input,
        output,
        cache_read,
        cache_write: short.min(long),
        cache_write_1h: short.max(long),
    })
}

fn price() -> impl Strategy<Value = ModelPrice> {
    (
        rates(),
        proptest::option::of((0..1_000u64, rates())),
        100..1_000u64,
    )
        .prop_map(|(rates, long, fast_percent)| ModelPrice {
            rates,
            long_prompt: long.map(|(over, more)| LongPrompt {
                over,
                rates: more.dearer(&rates),
            }),
            fast_percent,
        })
}

fn consumption() -> impl Strategy<Value = Consumption> {
    let tokens = || prop_oneof![0..2_000u64, 0..10_000_000u64, any::<u64>()];
    (
        tokens(),
        tokens(),
        tokens(),
        tokens(),
        tokens(),
        0..100u64,
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(input, output, cache_read, cache_creation, cache_creation_1h, searches, [fast, us_only])| {
                Consumption {
                    tokens: Tokens {
                        input,
                        output,
                        cache_read,
                        cache_creation,
                        cache_creation_1h,
                        searches,
                    },
                    fast,
                    us_only,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_cost_never_falls_as_a_request_grows(price in price(), less in consumption(), more in consumption(), regional in any::<bool>()) {
        let most = Consumption {
            tokens: less.tokens.most(more.tokens),
            fast: less.fast || more.fast,
            us_only: less.us_only || more.us_only,
        };
        prop_assert!(price.fault().is_none());
        prop_assert!(price.cost(&most, regional) >= price.cost(&less, regional));
        prop_assert!(price.cost(&less, true) >= price.cost(&less, false));
    }

    #[test]
    fn a_cost_is_exact_and_rounded_up_once(price in rates(), input in 0..1_000_000u64, output in 0..1_000_000u64) {
        let cost = ModelPrice::flat(price).cost(&used(input, output, 0, 0), false);
        let exact = u128::from(input) * u128::from(price.input) + u128::from(output) * u128::from(price.output);
        let expected = u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        prop_assert_eq!(cost, expected);
    }

    #[test]
    fn nothing_costs_more_than_the_unknown(rows in proptest::collection::vec(("[a-z]{1,3}", price()), 0..5), what in consumption(), at in any::<prop::sample::Index>()) {
        let table = PriceTable::default().with_overrides(rows).unwrap();
        let (pattern, _) = at.get(&table.rows);
        let known = name(pattern);
        prop_assert!(table.cost(&[], &what) >= table.cost(&[known.as_ref()], &what));
    }

    #[test]
    fn a_later_override_wins_and_order_does_not_matter_otherwise(mut rows in proptest::collection::btree_map("[a-c]{1,3}[*]?", price(), 0..6), id in "[a-c]{1,4}", what in consumption()) {
        let build = |rows: Vec<(String, ModelPrice)>| PriceTable { rows: Vec::new(), fallback: ModelPrice::flat(Rates::default()) }.with_overrides(rows).unwrap();
        // Of two patterns of one length only one may stand for a name, or it would not be said which counts.
        let bare: Vec<String> = rows.keys().filter(|key| !key.ends_with('*')).cloned().collect();
        for key in bare {
            rows.remove(&format!("{key}*"));
        }
        let forward: Vec<_> = rows.into_iter().collect();
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        let model = name(&id);
        prop_assert_eq!(build(forward).cost(&[model.as_ref()], &what), build(backward).cost(&[model.as_ref()], &what));
    }
}
