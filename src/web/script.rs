//! Joins the page's scripts: modules that are needed together are served as one file, which is built when the daemon
//! starts.
//!
//! A browser learns a module's imports only from the module itself, and then requests each file. With one file per
//! module the page took twenty requests over six connections before the first module could finish. Joining needs no
//! tools, because all modules import in the same way, one line each (a unit test checks that): these lines are removed,
//! and imports from other files are written once.

use std::collections::{BTreeMap, BTreeSet};

/// Modules that are served as one file: name and text of each, in the order of their imports. The last one names the
/// file.
pub(super) struct Script(pub &'static [(&'static str, &'static str)]);

impl Script {
    /// The name of the file.
    pub(super) fn name(&self) -> &'static str {
        self.0.last().map_or("", |(name, _)| *name)
    }

    fn has(&self, module: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == module)
    }

    /// The content of the file; `all` are all files.
    pub(super) fn text(&self, all: &[Self]) -> String {
        let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut body = String::new();
        for line in self.0.iter().flat_map(|(_, text)| text.lines()) {
            match import(line) {
                None => body.extend([line, "\n"]),
                Some((_, from)) if self.has(from) => {}
                Some((names, from)) => {
                    let file = all.iter().find(|script| script.has(from)).map_or(from, Self::name);
                    imports.entry(file).or_default().extend(names.split(", "));
                }
            }
        }
        let mut text = String::new();
        for (file, names) in imports {
            let names: Vec<_> = names.into_iter().collect();
            text += &format!("import {{ {} }} from './{file}';\n", names.join(", "));
        }
        text + &body
    }
}

/// Parses `import { a, b } from './c.js';` into "a, b" and "c.js".
fn import(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("import { ")?.strip_suffix("';")?.split_once(" } from './")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Script] = &[
        Script(&[
            ("a.js", "export const a = 1;\n"),
            ("b.js", "import { a } from './a.js';\n\nexport const b = a;\n"),
        ]),
        Script(&[
            ("c.js", "import { a } from './a.js';\nimport { b } from './b.js';\nconst c = a + b;\n"),
            (
                "d.js",
                "import { c } from './c.js';\nimport { a } from './a.js';\nimport { e } from './e.js';\na(c);\n",
            ),
        ]),
    ];

    #[test]
    fn imports_within_a_file_go_and_others_lead_to_the_file_that_has_it_now() {
        assert_eq!(ALL[0].name(), "b.js");
        assert_eq!(ALL[0].text(ALL), "export const a = 1;\n\nexport const b = a;\n");
        let joined = "import { a, b } from './b.js';\nimport { e } from './e.js';\nconst c = a + b;\na(c);\n";
        assert_eq!(ALL[1].text(ALL), joined);
    }
}
