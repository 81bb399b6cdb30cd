//! The layers of the crate: which module may import which, which modules are pure, and how long files and functions are.
//!
//! Sources are parsed; items under `#[cfg(test)]` do not count, wherever they stand.

use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// The modules, from the lowest layer to the highest, and what each may import.
const MODULES: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("files", &[]),
    ("model", &[]),
    ("policy", &["model"]),
    ("state", &["model", "policy"]),
    ("config", &["model", "policy", "text", "files"]),
    ("cli", &["config"]),
    ("telemetry", &["config", "text"]),
    ("source", &["model", "policy", "text", "files"]),
    ("aws", &["model", "source", "text"]),
    ("exposition", &["model", "policy", "state", "source", "aws", "text"]),
    ("accounts", &["model", "policy", "config", "source"]),
    ("schedule", &["model", "policy", "config", "source", "state", "accounts"]),
    ("report", &["model", "policy", "state", "exposition", "text"]),
    ("http", &["model", "config", "exposition"]),
    (
        "app",
        &[
            "model",
            "policy",
            "state",
            "report",
            "aws",
            "source",
            "accounts",
            "exposition",
            "schedule",
            "http",
            "cli",
            "config",
        ],
    ),
    ("main", &["app", "cli", "config", "http", "source", "telemetry"]),
    ("lib", &[]),
];

/// Modules without runtime, network, files, environment and clock.
const PURE: &[&str] =
    &["text", "accounts", "model", "policy", "state", "report", "exposition/families", "exposition/family"];
const IMPURE: &[&str] = &[
    "tokio::",
    "hyper::",
    "hyper_util::",
    "aws_sdk",
    "aws_smithy",
    "aws_config",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "Timestamp::now",
    "SystemTime",
    "Instant",
    "std::io::std",
    "fastrand",
    "tracing::",
];

/// Crates that belong to few modules: a file in another one must not use them.
const FOREIGN: &[(&[&str], &[&str])] = &[
    (&["aws_sdk", "aws_config", "aws_smithy", "aws_credential_types", "aws_types"], &["aws"]),
    (&["hyper::", "hyper_util::"], &["http"]),
    (&["clap::", "clap_complete::", "clap_mangen::"], &["cli", "main"]),
    (&["anyhow"], &["app", "main"]),
];

/// A field with such a name, or of such a type, holds a secret.
const SECRET_NAMES: &[&str] =
    &["secret", "password", "passwd", "token", "credential", "external_id", "private", "authorization", "bcrypt"];
const SECRET_TYPES: &[&str] = &["Credentials", "StsCredentials", "PrivateKeyDer"];
/// Types that are printed without what they hold.
const HIDDEN_TYPES: &[&str] = &["ExternalId", "AccessKeyId", "SecretString", "SecretBox", "SecretSlice"];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 60;
/// Longer functions, each with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// A source file.
struct Source {
    /// Relative to `src`.
    name: String,
    /// Without tests and comments.
    code: String,
    /// Name and length of each function that is not a test.
    functions: Vec<(String, usize)>,
    /// Lines of functions and types with `Result<_, String>`.
    string_errors: Vec<usize>,
    /// Fields that hold a secret, of types that derive Debug or Serialize.
    printed_secrets: Vec<String>,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split(['/', '.']).next().unwrap()
    }
}

fn sources() -> Vec<Source> {
    fn visit(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files);
    let sources: Vec<Source> = files
        .iter()
        .map(|path| source(path.strip_prefix(&root).unwrap().to_str().unwrap(), &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(sources.len() > 60, "only {} files were found", sources.len());
    sources
}

fn source(name: &str, text: &str) -> Source {
    let file = syn::parse_file(text).unwrap_or_else(|e| panic!("src/{name}: {e}"));
    let mut inspector = Inspector::default();
    inspector.visit_file(&file);
    let is_test = |line: usize| inspector.tests.iter().any(|(first, last)| (*first..=*last).contains(&line));
    let lines = text.lines().enumerate().filter(|(i, line)| !is_test(i + 1) && !line.trim_start().starts_with("//"));
    let code = lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    Source {
        name: name.to_owned(),
        code,
        functions: inspector.functions,
        string_errors: inspector.string_errors,
        printed_secrets: inspector.printed_secrets,
    }
}

#[derive(Default)]
struct Inspector {
    /// First and last lines of items under `#[cfg(test)]`.
    tests: Vec<(usize, usize)>,
    functions: Vec<(String, usize)>,
    string_errors: Vec<usize>,
    printed_secrets: Vec<String>,
}

impl Inspector {
    /// Whether the item is a test's, whose lines are then noted.
    fn is_test(&mut self, attributes: &[syn::Attribute], span: proc_macro2::Span) -> bool {
        let is_test = attributes.iter().any(|a| {
            a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
        });
        if is_test {
            let first = attributes.iter().map(|a| a.span().start().line).min().unwrap_or(span.start().line);
            self.tests.push((first, span.end().line));
        }
        is_test
    }

    fn fields(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], fields: &syn::Fields) {
        let derives = attributes.iter().filter(|a| a.path().is_ident("derive"));
        let derived: BTreeSet<String> = derives.flat_map(|a| identifiers_in(a.meta.to_token_stream())).collect();
        if !derived.contains("Debug") && !derived.contains("Serialize") {
            return;
        }
        for field in fields {
            let types = identifiers_in(field.ty.to_token_stream());
            let field_name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            let is_secret = SECRET_TYPES.iter().any(|t| types.contains(*t))
                || SECRET_NAMES.iter().any(|n| field_name.contains(n)) && !types.contains("bool");
            if is_secret && !HIDDEN_TYPES.iter().any(|t| types.contains(*t)) {
                self.printed_secrets.push(format!("{name}.{field_name}"));
            }
        }
    }

    fn function(&mut self, signature: &syn::Signature, span: proc_macro2::Span) {
        let lines = span.end().line - signature.span().start().line + 1;
        self.functions.push((signature.ident.to_string(), lines));
    }
}

impl<'a> Visit<'a> for Inspector {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !self.is_test(&item.attrs, item.span()) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        if !self.is_test(&item.attrs, item.span()) {
            self.fields(&item.ident, &item.attrs, &item.fields);
            syn::visit::visit_item_struct(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        if !self.is_test(&item.attrs, item.span()) {
            item.variants.iter().for_each(|variant| self.fields(&variant.ident, &item.attrs, &variant.fields));
            syn::visit::visit_item_enum(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.is_test(&item.attrs, item.span());
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !self.is_test(&item.attrs, item.span()) {
            self.function(&item.sig, item.span());
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !self.is_test(&item.attrs, item.span()) {
            self.function(&item.sig, item.span());
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
        if segment.ident == "Result"
            && let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments
            && let Some(syn::GenericArgument::Type(syn::Type::Path(error))) = arguments.args.iter().nth(1)
            && error.path.is_ident("String")
        {
            self.string_errors.push(segment.span().start().line);
        }
        syn::visit::visit_path_segment(self, segment);
    }
}

/// The modules named after `crate::` (in the binary, after the crate's name).
fn imports(code: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut modules = BTreeSet::new();
    for prefix in ["crate::", "iam_key_exporter::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap();
                modules.extend(group.split(',').map(|item| item.trim().split("::").next().unwrap()));
            } else {
                modules.insert(rest.split(|c| !is_name(c)).next().unwrap());
            }
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn modules_import_only_what_lies_below_them() {
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == module) else {
            panic!("src/{} is in a module that is not listed here", source.name)
        };
        for import in imports(&source.code) {
            assert!(import == module || allowed.contains(&import), "src/{} imports {import}", source.name);
        }
    }
}

/// The list above is in the order of the layers: a module may import only modules before it, so there are no cycles.
#[test]
fn there_are_no_cycles() {
    for (index, (module, allowed)) in MODULES.iter().enumerate() {
        for import in *allowed {
            let position = MODULES.iter().position(|(name, _)| name == import);
            assert!(position.is_some_and(|p| p < index), "{module} may import {import}, which is not below it");
        }
    }
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let imports = imports(&source.code).into_iter().map(str::to_owned);
        used.entry(source.module().to_owned()).or_default().extend(imports);
    }
    for (module, allowed) in MODULES {
        let used = used.get(*module).cloned().unwrap_or_default();
        let unused: Vec<_> = allowed.iter().filter(|a| !used.contains(**a)).collect();
        assert!(unused.is_empty(), "{module} does not import {unused:?}: remove it from the list");
    }
}

#[test]
fn pure_modules_are_pure() {
    let mut pure = 0;
    for source in sources() {
        let name = source.name.trim_end_matches(".rs");
        if PURE.iter().any(|p| name == *p || name.starts_with(&format!("{p}/"))) {
            pure += 1;
            for word in IMPURE {
                assert!(!source.code.contains(word), "src/{} is pure and uses {word}", source.name);
            }
        }
    }
    assert!(pure > 30, "only {pure} pure files were found");
}

#[test]
fn foreign_crates_have_their_modules() {
    for source in sources() {
        for (crates, modules) in FOREIGN {
            let used = crates.iter().find(|name| source.code.contains(**name));
            assert!(used.is_none() || modules.contains(&source.module()), "src/{} uses {used:?}", source.name);
        }
    }
}

#[test]
fn rules_are_named_in_their_own_files_only() {
    let sources = sources();
    let rules: Vec<&str> = sources
        .iter()
        .filter(|s| s.name.starts_with("policy/") && s.code.contains("pub static RULE:"))
        .map(|s| s.name.trim_start_matches("policy/").trim_end_matches(".rs"))
        .collect();
    assert!(rules.len() >= 4, "{rules:?}");
    for source in &sources {
        for rule in &rules {
            let own = source.name == format!("policy/{rule}.rs") || source.name == "policy.rs";
            assert!(own || !identifiers(&source.code).contains(*rule), "src/{} names the rule {rule}", source.name);
        }
    }
}

/// The identifiers of the code, without the contents of strings.
fn identifiers(code: &str) -> BTreeSet<String> {
    identifiers_in(code.parse().unwrap())
}

fn identifiers_in(tokens: proc_macro2::TokenStream) -> BTreeSet<String> {
    fn collect(tokens: proc_macro2::TokenStream, identifiers: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(ident) => {
                    identifiers.insert(ident.to_string());
                }
                proc_macro2::TokenTree::Group(group) => collect(group.stream(), identifiers),
                proc_macro2::TokenTree::Punct(_) | proc_macro2::TokenTree::Literal(_) => {}
            }
        }
    }
    let mut identifiers = BTreeSet::new();
    collect(tokens, &mut identifiers);
    identifiers
}

/// What a type derives prints every field. Key IDs, tokens, external IDs and passwords are in types that print `[redacted]`
/// instead, or their owner writes its Debug itself.
#[test]
fn no_derived_form_prints_a_secret() {
    for source in sources() {
        assert!(
            source.printed_secrets.is_empty(),
            "src/{}: {:?} would be printed: use secrecy::SecretString, or implement Debug",
            source.name,
            source.printed_secrets
        );
    }
    let derived =
        source("x.rs", "#[derive(Clone, Debug)] struct A { password: String } enum B { C { token: String } }");
    assert_eq!(derived.printed_secrets, ["A.password"]);
    let derived = source("x.rs", "#[derive(Debug)] enum B { C(Credentials), D { external_id: Option<ExternalId> } }");
    assert_eq!(derived.printed_secrets, ["C."]);
}

/// `unsafe_code` is forbidden in Cargo.toml for every target, which no attribute can take back.
#[test]
fn unsafe_code_is_forbidden() {
    let manifest = include_str!("../Cargo.toml");
    let lints = manifest.split("\n[").find(|section| section.starts_with("lints.rust]")).unwrap();
    assert!(lints.contains("unsafe_code = \"forbid\""), "{lints}");
}

#[test]
fn errors_have_types() {
    for source in sources() {
        assert!(
            source.string_errors.is_empty(),
            "src/{}: {:?}: an error is a String",
            source.name,
            source.string_errors
        );
    }
}

#[test]
fn files_and_functions_are_short() {
    let mut long = BTreeSet::new();
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= LONGEST_FILE, "src/{} has {lines} lines without comments and tests", source.name);
        for (name, lines) in source.functions.iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION) {
            let function = format!("{}: {name}", source.name);
            let excepted = LONG_FUNCTIONS.iter().any(|(known, reason)| *known == function && !reason.is_empty());
            assert!(excepted, "src/{function} has {lines} lines");
            long.insert(function);
        }
    }
    for (function, _) in LONG_FUNCTIONS {
        assert!(long.contains(*function), "{function} is no longer long: remove it from the list");
    }
}
