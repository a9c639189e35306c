//! Keys that are compared as bytes have the order of their values.

use ingrain::{KeyBuilder, KeyRange};
use proptest::{collection::vec, prelude::*};

use crate::harness::keys::{Part, compare, encode};

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::INFINITE,
        prop::sample::select(&[0.0, -0.0, 1.0, -1.0, f64::MIN, f64::MAX][..]),
    ]
}

/// Two keys of the same types, often alike.
fn any_pair() -> impl Strategy<Value = (Vec<(Part, bool)>, Vec<(Part, bool)>)> {
    let bytes = || vec(prop_oneof![Just(0_u8), Just(1), Just(0xfe), Just(0xff)], 0..4);
    let text = || "[\0\u{1}ab]{0,3}";
    let part = prop_oneof![
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| (Part::Int(a), Part::Int(b))),
        (-2..2_i64, -2..2_i64).prop_map(|(a, b)| (Part::Int(a), Part::Int(b))),
        (any_float(), any_float()).prop_map(|(a, b)| (Part::Float(a), Part::Float(b))),
        (text(), text()).prop_map(|(a, b)| (Part::Text(a), Part::Text(b))),
        (bytes(), bytes()).prop_map(|(a, b)| (Part::Bytes(a), Part::Bytes(b))),
    ];
    (vec((part, any::<bool>()), 0..4), 0..4_usize).prop_map(|(parts, cut)| {
        let (a, b): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|((a, b), descending)| ((a, descending), (b, descending)))
            .unzip();
        let cut = a.len().saturating_sub(cut / 2);
        (a, b[..cut].to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn byte_order_is_value_order((a, b) in any_pair()) {
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), compare(&a, &b));
    }

    #[test]
    fn a_prefix_range_contains_exactly_the_keys_that_begin_with_it(
        prefix in vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..3),
        key in vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..5),
    ) {
        prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
    }
}

#[test]
fn nan_sorts_after_infinity() {
    let key = |value: f64| KeyBuilder::new().float(value).build();
    assert!(key(f64::NAN) > key(f64::INFINITY));
    assert_eq!(key(f64::NAN), key(-f64::NAN));
    assert_eq!(key(0.0), key(-0.0));
}
