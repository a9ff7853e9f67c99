//! Checks answers against the schemas of `openapi.json`. It supports only the keywords of JSON
//! Schema that the file uses.

use serde_json::Value;

/// The violations of the schema `name` in `value`; empty: there are none.
pub fn violations(name: &str, value: &Value) -> Vec<String> {
    let description = skytide_api::describe();
    let schemas = &description["components"]["schemas"];
    let mut found = Vec::new();
    check(schemas, &schemas[name], value, name, &mut found);
    found
}

/// Adds the violations in `value`, which is at the path `at`.
fn check(schemas: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        assert!(schemas[name].is_object(), "no schema {name}");
        return check(schemas, &schemas[name], value, at, found);
    }
    if !has_type(&schema["type"], value) {
        return found.push(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| !words.contains(value))
    {
        found.push(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            schemas,
            &schema["items"],
            item,
            &format!("{at}[{index}]"),
            found,
        );
    }
    if let Some(fields) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => found.push(format!("{at} is not described")),
                (Value::Null, other) => check(schemas, other, field, &at, found),
                (known, _) => check(schemas, known, field, &at, found),
            }
        }
    }
}

fn has_type(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| has_type(kind, value)),
        Value::String(kind) => match kind.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("this checker does not support the type {other}"),
        },
        other => panic!("the schema has no type: {other}"),
    }
}
