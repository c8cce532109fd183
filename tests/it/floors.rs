//! The house's floors (see the crate documentation): a room imports only from floors below its
//! own, or from itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::gatepass::project;

const FLOORS: [(&str, u8); 24] = [
    ("main", 6),
    ("cli", 6),
    ("app", 5),
    ("config", 4),
    ("admin", 4),
    ("oauth", 3),
    ("server", 2),
    ("proxy", 3),
    ("token", 1),
    ("traces", 2),
    ("tls", 1),
    ("store", 2),
    ("readiness", 0),
    ("gathering", 0),
    ("memory", 0),
    ("metric", 0),
    ("ordinary_file", 0),
    ("drain", 0),
    ("signal", 0),
    ("telemetry", 1),
    ("systemd", 0),
    ("watch", 1),
    ("wording", 0),
    ("runtime", 0),
];

#[test]
fn no_room_imports_from_its_own_floor_or_above() {
    let floors = BTreeMap::from(FLOORS);
    let mut violations = Vec::new();
    let mut imports = 0;
    for file in rust_files(&project().join("src")) {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let floor = floors.get(room.as_str());
        let floor = floor.unwrap_or_else(|| panic!("{room} has no floor; give it one here"));
        for imported in imported_rooms(&fs::read_to_string(&file).unwrap()) {
            imports += 1;
            let of = floors.get(imported.as_str());
            let of = of.unwrap_or_else(|| panic!("{} imports {imported}", file.display()));
            if imported != room && of >= floor {
                violations.push(format!(
                    "{} (floor {floor}) imports {imported} (floor {of})",
                    file.display()
                ));
            }
        }
    }
    assert!(
        imports > 30,
        "only {imports} imports found: does the search still work?"
    );
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn the_search_finds_every_way_to_write_an_import() {
    let source = "
        use crate::token::TokenReader;
        use crate::{oauth, proxy, server::Settings};
        pub use crate::{
            drain::{Drain, DrainWatch},
            tls,
        };
        let x = crate::runtime::control();
        // use crate::admin in a comment
    ";
    assert_eq!(
        imported_rooms(source),
        [
            "token", "oauth", "proxy", "server", "drain", "tls", "runtime"
        ]
    );
}

pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/proxy/route.rs` and `src/proxy.rs` are both of the room `proxy`.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(project().join("src")).unwrap();
    let first = inside.components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

/// The first name after every `crate::`, braces opened.
fn imported_rooms(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(top_level_names(list)),
            None => rooms.push(first_name(rest)),
        }
    }
    rooms.retain(|room| room.starts_with(|c: char| c.is_ascii_lowercase()));
    rooms
}

/// The first names of the comma-separated items up to the closing brace.
fn top_level_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item = String::new();
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ => item.push(c),
        }
    }
    names.push(item);
    names
        .iter()
        .map(|item| first_name(item.trim()))
        .filter(|name| !name.is_empty())
        .collect()
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}
