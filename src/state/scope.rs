//! The cameras that a credential allows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// All cameras, including future ones, or some cameras by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Option<BTreeSet<String>>);

impl Scope {
    /// All cameras.
    pub const ALL: Self = Self(None);

    /// Only these cameras.
    pub fn only(cameras: impl IntoIterator<Item = String>) -> Self {
        Self(Some(cameras.into_iter().collect()))
    }

    /// Whether this scope is all cameras.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The names; `None` for all cameras.
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        self.0.as_ref()
    }

    /// Whether this scope includes `camera`.
    pub fn has(&self, camera: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(camera))
    }

    /// Whether `other` includes all cameras of this scope.
    pub fn within(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(names), Some(others)) => names.is_subset(others),
        }
    }

    /// Removes names that are not in `cameras`: a later camera with such a name has to be granted again.
    pub fn keep(&mut self, cameras: &[String]) {
        if let Some(names) = &mut self.0 {
            names.retain(|name| cameras.contains(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_more_than_any_names_and_a_removed_name_grants_nothing_later() {
        let only = |names: &[&str]| Scope::only(names.iter().map(|name| (*name).to_owned()));
        let (both, front) = (only(&["front", "back"]), only(&["front"]));
        assert!(front.has("front") && !front.has("back") && Scope::ALL.has("attic"));
        assert!(front.within(&both) && both.within(&Scope::ALL) && Scope::ALL.within(&Scope::ALL));
        assert!(!both.within(&front) && !Scope::ALL.within(&both));
        let (mut kept, mut all) = (both.clone(), Scope::ALL);
        for scope in [&mut kept, &mut all] {
            scope.keep(&["back".to_owned(), "attic".to_owned()]);
        }
        assert_eq!((kept, all), (only(&["back"]), Scope::ALL));
        assert_eq!(serde_json::to_string(&both).expect("JSON"), r#"["back","front"]"#);
    }
}
