//! How a project is built up: languages, sizes, entry points, modules.

pub mod entry_points;
pub mod languages;
pub mod modules;
pub mod sizes;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::entry_points::EntryPoint;
pub use self::languages::Language;
pub use self::modules::Module;
pub use self::sizes::Sizes;
use crate::manifests;
use crate::project::Project;
use crate::report::Samples;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Structure {
    /// Languages, the one with the most lines first.
    pub languages: Vec<Language>,
    /// Where the bytes are.
    pub sizes: Sizes,
    /// Where programs and tasks begin.
    pub entry_points: Samples<EntryPoint>,
    /// Packages and workspaces, as their manifests say.
    pub modules: Samples<Module>,
}

pub(crate) fn of(project: &Project) -> Structure {
    let manifests = manifests::all(project);
    Structure {
        languages: languages::of(project),
        sizes: sizes::of(project),
        entry_points: entry_points::of(project, &manifests),
        modules: modules::of(&manifests),
    }
}
