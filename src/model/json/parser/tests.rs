use super::*;
use crate::model::json::random::Random;
use crate::model::json::value::to_raw;

fn read(text: &str) -> Json {
    parse(text.as_bytes(), 64).unwrap()
}

fn kind(text: &[u8]) -> JsonErrorKind {
    parse(text, 4).unwrap_err().kind
}

#[test]
fn keeps_order_and_spelling() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0.0",
        "1e5",
        "1E+05",
        "9007199254740993",
        "1.10",
        r#""""#,
        "[]",
        "{}",
        r#"{"b":1.10,"a":[1e5,{"":null}],"é":"😀\"\\\n"}"#,
        r#""\u001f\b\f\n\r\t""#,
        "\"\u{7f}\u{2028}\"",
    ] {
        assert_eq!(read(text).to_string(), text);
        assert_eq!(to_raw(&read(text)).get(), text);
    }
    let spaced = " {\t\"a\" :\r\n[ 1 , 2 ] , \"b\" : { } } ";
    assert_eq!(read(spaced).to_string(), r#"{"a":[1,2],"b":{}}"#);
    assert_eq!(read(r#""\u0041\/\ud83d\ude00\u00e9""#), Json::String("A/😀é".into()));
}

#[test]
fn the_last_of_duplicate_keys_wins() {
    assert_eq!(read(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#).to_string(), r#"{"a":4,"b":2}"#);
    for keys in [15, 24, 25, 26, 40, 1000] {
        let members: Vec<String> = (0..2 * keys).map(|n| format!("\"k{}\":{n}", n % keys)).collect();
        let expected: Vec<String> = (0..keys).map(|n| format!("\"k{n}\":{}", n + keys)).collect();
        assert_eq!(read(&format!("{{{}}}", members.join(","))).to_string(), format!("{{{}}}", expected.join(",")));
    }
}

#[test]
fn a_huge_object_takes_linear_time() {
    let members: Vec<String> = (0..150_000).map(|n| format!("\"{n}\":0")).collect();
    let start = std::time::Instant::now();
    assert!(matches!(read(&format!("{{{}}}", members.join(","))), Json::Object(members) if members.len() == 150_000));
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn refuses_what_is_not_json() {
    let texts = [
        "",
        " ",
        "nul",
        "nulll",
        "tru",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:2}",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\é\"",
        "\"a\nb\"",
        "\"12345678\u{1}\"",
        "1 2",
        "{} x",
        "\u{feff}1",
        "\"\\u+123\"",
        "[1}",
        "//",
        "\"\\ud800\\u12\"",
    ];
    for text in texts {
        assert!(matches!(kind(text.as_bytes()), JsonErrorKind::Syntax(_)), "{text:?}");
    }
    assert!(matches!(kind(b"\"\xff\""), JsonErrorKind::Syntax(_)));
    assert!(matches!(kind(b"\"\xed\xa0\x80\""), JsonErrorKind::Syntax(_)), "a surrogate in UTF-8");
    assert!(matches!(kind(b"\"\0\""), JsonErrorKind::Syntax(_)), "a bare NUL is a control character");
}

#[test]
fn names_the_place_of_a_bad_value() {
    let cases = [
        (r#"{"a":[1,{"b c":"\u0000"}]}"#, JsonErrorKind::Nul, r#"a[1]["b c"]"#),
        (r#"{"a":{"x\u0000":1}}"#, JsonErrorKind::Nul, "a"),
        (r#"{"a":["\ud800"]}"#, JsonErrorKind::LoneSurrogate, "a[0]"),
        (r#"["\ud800x"]"#, JsonErrorKind::LoneSurrogate, "[0]"),
        (r#"["\ud800\u0041"]"#, JsonErrorKind::LoneSurrogate, "[0]"),
        (r#"["\udc00\ud800"]"#, JsonErrorKind::LoneSurrogate, "[0]"),
        (r#"{"\udc00":1}"#, JsonErrorKind::LoneSurrogate, ""),
        (r#"{"n":1e309}"#, JsonErrorKind::NumberTooLong, "n"),
        ("[[[[[1]]]]]", JsonErrorKind::TooDeep, "[0][0][0][0]"),
    ];
    for (text, kind, path) in cases {
        let error = parse(text.as_bytes(), 4).unwrap_err();
        assert_eq!((error.kind, error.path.as_str()), (kind, path), "{text}");
    }
    assert!(parse(b"[[[[1]]]]", 4).is_ok());
    assert!(parse(b"1", 0).is_ok());
    assert!(parse(b"[]", 0).is_err());
}

#[test]
fn deep_nesting_costs_no_stack() {
    for bracket in ["[", "{\"a\":"] {
        let error = parse(bracket.repeat(2_000_000 / bracket.len()).as_bytes(), 128).unwrap_err();
        assert_eq!(error.kind, JsonErrorKind::TooDeep);
        assert!(error.path.len() < 500);
    }
    let long_key = format!("{{\"{}\":{{\"a\":\"\\u0000\"}}}}", "k".repeat(100_000));
    assert!(parse(long_key.as_bytes(), 128).unwrap_err().path.len() < 100);
}

#[test]
fn bounds_numbers() {
    let long = |digits: usize| "1".repeat(digits);
    let good = [
        "1e308".to_owned(),
        "-1.7976931348623157e308".into(),
        "1e-1098".into(),
        "0e99999999999999999999".into(),
        "0.0e5".into(),
        format!("0.{}", long(1098)),
        format!("{}.{}", long(300), long(799)),
        long(309),
        "5e-324".into(),
        "1e-400".into(),
    ];
    for token in good {
        assert_eq!(read(&token), Json::Number(token.clone()));
        assert!(crate::model::json::jsonb::number_text(&token).len() <= MAX_NUMBER_CHARS);
    }
    let bad = [
        "1e309".to_owned(),
        "-1e309".into(),
        "1.7976931348623159e308".into(),
        "1e99999999999999999999".into(),
        "1e-1099".into(),
        "1e-5000".into(),
        "1e-99999999999999999999".into(),
        "0e-5000".into(),
        format!("0.{}", long(1099)),
        format!("-0.{}", long(1098)),
        long(310),
    ];
    for token in bad {
        assert_eq!(kind(token.as_bytes()), JsonErrorKind::NumberTooLong, "{token}");
    }
}

#[test]
fn specials_are_found_at_every_offset() {
    for length in 0..40 {
        for at in 0..length {
            for special in [b'"', b'\\', 0, 1, 0x1f] {
                let mut bytes = vec![b' '; length];
                bytes[at] = special;
                assert_eq!(next_special(&bytes, 0), at);
            }
            for plain in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0x9f, 0xa2, 0xdc, 0xff] {
                let mut bytes = vec![0x80; length];
                bytes[at] = plain;
                assert_eq!(next_special(&bytes, 0), length);
            }
        }
    }
}

#[test]
fn random_values_survive_and_agree_with_serde_json() {
    let mut random = Random::new(1);
    for _ in 0..3000 {
        let value = random.json(4);
        let text = value.to_string();
        assert_eq!(read(&text), value);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        let mut damaged = text.into_bytes();
        let at = random.below(damaged.len());
        damaged[at] = b"\"\\{}[],:0e.-tn\x01 "[random.below(16)];
        let theirs = serde_json::from_slice::<serde_json::Value>(&damaged);
        match parse(&damaged, 64) {
            Ok(_) => assert!(theirs.is_ok()),
            Err(error) if matches!(error.kind, JsonErrorKind::Syntax(_)) => assert!(theirs.is_err()),
            Err(_) => {}
        }
    }
}
