//! The command `nearest`.

use serde_json::{Value as Json, json};

use crate::fixture::{NAN, array, found, lines, npy, small};

#[test]
fn nearest_answers_each_query_on_a_line() {
    let dir = small();
    let like = dir.json("nearest --store @a --like dog -k 2");
    assert_eq!(like.len(), 1);
    assert_eq!(like[0]["query"], "dog");
    let hits = like[0]["hits"].as_array().unwrap();
    assert_eq!(
        hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["cat", "018f4e9c-0000-7000-8000-000000000001"]
    );
    let distance = hits[0]["distance"].as_f64().unwrap();
    assert!((distance - 0.2).abs() < 1e-6, "{distance}");
    assert_eq!(
        dir.json("nearest --store @a --like dog --kind animal")[0]["hits"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let error = dir.fails("nearest --store @a --like mat");
    assert!(error.contains("no vector"), "{error}");

    let half: Vec<u8> =
        [1.0, 0.0, -1.0, 0.0].map(|x| half::f16::from_f32(x).to_le_bytes()).concat();
    dir.file("q", array("<f2", "(2, 2)", &half));
    let found = dir.json("nearest --store @a --queries @q -k 1");
    assert_eq!(
        found
            .iter()
            .map(|line| (line["query"].as_u64().unwrap(), line["hits"][0]["id"].as_str().unwrap()))
            .collect::<Vec<_>>(),
        [(0, "dog"), (1, "bare")]
    );
    dir.file("q", array("<f4", "(2,)", &[0.0_f32, 3.0].map(f32::to_le_bytes).concat()));
    assert_eq!(
        dir.json("nearest --store @a --queries @q -k 1")[0]["hits"][0]["id"],
        "018f4e9c-0000-7000-8000-000000000001"
    );
    dir.file("q", array("<f4", "(1, 3)", &[0; 12]));
    assert!(dir.fails("nearest --store @a --queries @q").contains("3 numbers"));
    dir.file("q", array("<f4", "(1, 2)", &[0; 8]));
    assert!(dir.fails("nearest --store @a --queries @q").contains("row 0"));
    dir.wrong("nearest --store @a --like dog -k 0");

    // With two spaces, one has to be named.
    dir.ok("import --store @a --nodes @nodes --vectors @vectors --space other --metric l2");
    let error = dir.fails("nearest --store @a --like dog");
    assert!(error.contains("other") && error.contains("text"), "{error}");
    let distance =
        dir.json("nearest --store @a --like dog --space other -k 1")[0]["hits"][0]["distance"]
            .as_f64()
            .unwrap();
    assert!((distance - 0.4_f64.sqrt()).abs() < 1e-6, "{distance}");
}

#[test]
fn queries_are_read_from_json_too() {
    let dir = small();
    let four = "018f4e9c-0000-7000-8000-000000000001";
    dir.file("q", "[1, 0]\n[-1.0, 0e0] [0,1]");
    let all = dir.json("nearest --store @a --vector @q --k 1");
    let first = |row: usize| (all[row]["query"].as_u64().unwrap(), found(&all[row..])[0]);
    assert_eq!([first(0), first(1), first(2)], [(0, "dog"), (1, "bare"), (2, four)]);
    assert_eq!(all.len(), 3);
    let output = dir.run_with("nearest --store @a --vector - -k 1 --json", "[0, 1]");
    assert_eq!(found(&lines(str::from_utf8(&output.stdout).unwrap())), [four]);
    assert!(output.status.success());
    // More queries than are searched for together keep their places.
    let many: Vec<[f32; 2]> = (0_u8..=255)
        .chain(0..=255)
        .map(|n| if n % 2 == 0 { [1.0, 0.0] } else { [0.8, 0.6] })
        .collect();
    dir.file("q", npy(&many));
    for (row, answer) in dir.json("nearest --store @a --vector @q -k 1").iter().enumerate() {
        let nearest = if row % 2 == 0 { "dog" } else { "cat" };
        assert_eq!((&answer["query"], &answer["hits"][0]["id"]), (&json!(row), &json!(nearest)));
    }
    for (input, cause) in [
        ("", "no query"),
        ("[1, 2", "EOF"),
        ("[1, \"x\"]", "\"x\" is not a number"),
        ("[[1, 0], 2]", "2 is not an array"),
        ("{}", "JSON arrays of numbers"),
        ("[1, 0] [1]", "row 1: it has 1 numbers"),
        ("[0, 0]", "row 0: its vector is zero"),
        ("[1e300, 0]", "row 0: component 0"),
    ] {
        dir.file("q", input);
        let error = dir.fails("nearest --store @a --vector @q");
        assert!(error.contains(cause) && error.contains("/q: "), "{error}");
        let output = dir.run_with("nearest --store @a --vector -", input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(cause) && error.contains("standard input: "), "{error}");
    }
    dir.file("q", npy(&[NAN]));
    assert!(dir.fails("nearest --store @a --vector @q").contains("row 0: its vector is all NaN"));
    for absent in ["none", "."] {
        dir.fails(&format!("nearest --store @a --vector @{absent}"));
    }
}

#[test]
fn a_search_is_filtered_bounded_and_spread() {
    let dir = small();
    let four = "018f4e9c-0000-7000-8000-000000000001";
    let nearest = |options: &str| dir.json(&format!("nearest --store @a --like dog {options}"));
    assert_eq!(found(&nearest("")), ["cat", four, "bare"]);
    for effort in ["fast", "normal", "thorough", "exact"] {
        let all = nearest(&format!("--effort {effort}"));
        assert_eq!(found(&all), ["cat", four, "bare"], "{effort}");
    }
    assert_eq!(found(&nearest("--within 1.5")), ["cat", four]);
    assert!(found(&nearest("--within -1")).is_empty());
    assert_eq!(found(&nearest("--filter kind=animal")), ["cat"]);
    assert!(found(&nearest("--filter kind=plant")).is_empty());
    let key = |id: &str| {
        let node = dir.json(&format!("get --store @a {id}")).remove(0);
        node["keys"][0]["key"].as_str().unwrap().to_owned()
    };
    let (cat, mid) = (key("cat"), key(four));
    for (range, ids) in [
        ("..".to_owned(), vec!["cat", four, "bare"]),
        (format!("..{mid}"), vec!["cat"]),
        (format!("..={mid}"), vec!["cat", four]),
        (format!("{mid}.."), vec![four, "bare"]),
        (format!("{cat}..{mid}"), vec!["cat"]),
        (format!("{cat}..={mid}"), vec!["cat", four]),
    ] {
        assert_eq!(found(&nearest(&format!("--filter timeline={range}"))), ids, "{range}");
    }
    let both = format!("--filter timeline={mid}.. --filter kind=node");
    assert_eq!(found(&nearest(&both)), [four, "bare"]);
    // The second is as far from the first as can be.
    assert_eq!(found(&nearest("--diversity 0")), ["cat", four, "bare"]);
    assert_eq!(found(&nearest("--diversity 1 -k 2")), ["cat", "bare"]);

    let hit = nearest("--explain")[0]["hits"][0].clone();
    assert_eq!(
        (&hit["by"], &hit["file"], &hit["rank"]),
        (&json!("comparison"), &Json::Null, &Json::Null)
    );
    assert!(nearest("")[0]["hits"][0].get("by").is_none());
    assert!(dir.ok("nearest --store @a --like dog --explain").contains("memory"));
    dir.ok("checkpoint --store @a");
    assert!(nearest("--explain")[0]["hits"][0]["file"].is_u64());
    assert!(dir.ok("nearest --store @a --like dog --kind plant").contains("no nodes"));

    for (wrong, cause) in [
        ("--filter by=..", "\"by\": the store has none of that name, but timeline"),
        (&format!("--filter timeline={mid}..{cat}"), "ends before"),
        ("--space other", "\"other\": the store has none of that name, but text"),
    ] {
        let error = dir.fails(&format!("nearest --store @a --like dog {wrong}"));
        assert!(error.contains(cause), "{error}");
    }
    assert!(dir.fails("nearest --store @none --like dog").contains("no such directory"));
    for (wrong, cause) in [
        ("--kind a --filter kind=b", "takes one kind"),
        ("--filter timeline=.. --filter timeline=..", "takes one index"),
    ] {
        let error = dir.wrong(&format!("nearest --store @a --like dog {wrong}"));
        assert!(error.contains(cause), "{error}");
    }
}
