//! For tests: whether what a verb prints is what `docs/schema` promises. The part of JSON Schema (2020-12) that stands
//! there, and no more; a word that is not known fails, so that no promise is passed over.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

/// Holds `text`, one value of JSON, against `docs/schema/NAME.json`.
///
/// # Panics
/// With the place of what is wrong.
#[track_caller]
pub fn check(name: &str, text: &str) {
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    if let Err(why) = holds(&read(&format!("{name}.json")), &value, "") {
        panic!("{why}\n{text}");
    }
}

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn holds(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let said = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(format!("{place}: is not promised")),
        schema => schema.as_object().unwrap(),
    };
    let fail = |why: String| Err(format!("{place}: {why}: {value}"));
    for (word, wanted) in said {
        match word.as_str() {
            "$schema" | "title" | "description" => {}
            "$ref" => holds(&read(wanted.as_str().unwrap()), value, place)?,
            "type" => {
                let names: Vec<&str> = match wanted {
                    Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
                    name => name.as_str().into_iter().collect(),
                };
                if !names.iter().any(|name| is_of(name, value)) {
                    return fail(format!("is no {names:?}"));
                }
            }
            "enum" if !wanted.as_array().unwrap().contains(value) => {
                return fail(format!("is none of {wanted}"));
            }
            "minimum" if value.as_f64() < wanted.as_f64() => return fail(format!("is below {wanted}")),
            "maximum" if value.as_f64() > wanted.as_f64() => return fail(format!("is above {wanted}")),
            "enum" | "minimum" | "maximum" => {}
            "format" => {
                assert_eq!(wanted, "date-time", "no other form is known");
                if value.as_str().is_none_or(|text| text.len() != 24 || text.parse::<Timestamp>().is_err()) {
                    return fail("is no moment".to_owned());
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    holds(wanted, item, &format!("{place}[{number}]"))?;
                }
            }
            "properties" => {
                for (name, property) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        holds(property, value, &format!("{place}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let named = said.get("properties");
                let others = value.as_object().into_iter().flatten();
                for (name, value) in
                    others.filter(|(name, _)| named.is_none_or(|named| named.get(name).is_none()))
                {
                    holds(wanted, value, &format!("{place}.{name}"))?;
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap().iter().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        return fail(format!("{name} is missing"));
                    }
                }
            }
            other => panic!("{place}: the word {other:?} is not known here"),
        }
    }
    Ok(())
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the type {other:?} is not known here"),
    }
}

#[test]
fn what_breaks_a_promise_is_found() {
    let line = |rest: &str| format!(r#"{{"time":"2026-11-21T02:08:20.453Z",{rest}}}"#);
    check("event", &line(r#""event":"ban""#));
    for rest in [
        r#""event":"explosion""#,
        r#""event":"scan","ports":[22,"23"]"#,
        r#""event":"scan","probes":-1"#,
        r#""event":"ban","since":"yesterday""#,
        r#""source":"192.0.2.1""#,
    ] {
        let broken = std::panic::catch_unwind(|| check("event", &line(rest)));
        assert!(broken.is_err(), "{rest}");
    }
}
