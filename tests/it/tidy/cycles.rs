//! Files of one crate must not import each other in a circle.
//!
//! A file depends on another one when a `use` outside its tests names an item of it. The check resolves
//! `crate::`, `self::` and `super::` paths to files and then removes, again and again, every file that
//! imports nothing that is left. Files that remain are on an import cycle or import one.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree};

use super::{files, none, read};

/// The path of a module inside its crate: `["views", "posts"]`; empty for the crate root.
type Module = Vec<String>;

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut crates: BTreeMap<String, BTreeMap<Module, String>> = BTreeMap::new();
    for name in files(".rs") {
        if let Some((root, module)) = module_of(&name) {
            crates.entry(root).or_default().insert(module, name);
        }
    }
    let cyclic = crates.values().flat_map(cycles);
    none("files that import each other in a circle", cyclic.collect());
}

/// The crate folder and the module of a source file; `None` for tests, benchmarks and examples.
fn module_of(name: &str) -> Option<(String, Module)> {
    let (root, file) = match name.split_once("/src/") {
        Some((root, file)) => (root, file),
        None => ("", name.strip_prefix("src/")?),
    };
    let module = file.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let is_test = |part: &str| part == "tests" || part == "testing";
    if module.split('/').any(is_test) {
        return None;
    }
    let module = match module {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    };
    Some((root.to_owned(), module))
}

/// The files of one crate that are left when files without imports are removed until nothing changes.
fn cycles(modules: &BTreeMap<Module, String>) -> Vec<String> {
    let mut imports: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (module, name) in modules {
        let targets = imported(module, &read(name), modules);
        let others = targets.into_iter().filter(|target| *target != name);
        imports.insert(name, others.collect());
    }
    // Removes the files that import nothing, then those that nothing imports: what is left is a cycle.
    loop {
        let before = imports.len();
        let kept: BTreeSet<&String> = imports.keys().copied().collect();
        for targets in imports.values_mut() {
            targets.retain(|target| kept.contains(target));
        }
        let targets: BTreeSet<&String> = imports.values().flatten().copied().collect();
        imports.retain(|name, own| !own.is_empty() && targets.contains(name));
        if imports.len() == before {
            break;
        }
    }
    let line = |(name, targets): (&String, BTreeSet<&String>)| {
        let targets: Vec<_> = targets.into_iter().map(String::as_str).collect();
        format!("{name} imports {}", targets.join(", "))
    };
    imports.into_iter().map(line).collect()
}

/// The files that `use` items of `text`, the file of `module`, name.
fn imported<'a>(
    module: &Module,
    text: &str,
    modules: &'a BTreeMap<Module, String>,
) -> BTreeSet<&'a String> {
    let parsed = syn::parse_file(text).expect("a source file parses");
    let mut paths = Vec::new();
    for item in &parsed.items {
        if let Item::Use(item) = item
            && !item.attrs.iter().any(|it| it.path().is_ident("cfg"))
        {
            flatten(&item.tree, &mut Vec::new(), &mut paths);
        }
    }
    let targets = paths.into_iter().filter_map(|path| resolve(module, &path));
    let found = targets.filter_map(|target| {
        (1..=target.len())
            .rev()
            .find_map(|end| modules.get(&target[..end]))
    });
    found.collect()
}

/// Every path of a `use` tree, one for each leaf.
fn flatten(tree: &UseTree, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, paths);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|it| flatten(it, prefix, paths)),
        UseTree::Name(name) => paths.push([prefix.as_slice(), &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => {
            paths.push([prefix.as_slice(), &[name.ident.to_string()]].concat());
        }
        UseTree::Glob(_) => paths.push(prefix.clone()),
    }
}

/// A path of this crate as seen from its root; `None` for other crates.
fn resolve(module: &Module, path: &[String]) -> Option<Module> {
    let mut here = module.clone();
    match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" | "super" => {}
        // A path without a prefix names another crate, or a child: a module and its children are one unit.
        _ => return None,
    }
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        match first.as_str() {
            "super" => drop(here.pop()),
            "self" => {}
            _ => break,
        }
        rest = tail;
    }
    Some([here.as_slice(), rest].concat())
}
