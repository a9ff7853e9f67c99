//! What is described is what is answered.

use expect_test::expect_file;

#[test]
fn the_description_is_that_of_the_table_of_routes() {
    let described = serde_json::to_string_pretty(&skytide_api::describe()).unwrap();
    expect_file!["../../openapi.json"].assert_eq(&format!("{described}\n"));
}
