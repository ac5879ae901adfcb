//! Reads the query of a request, like `camera=front&quality=half`. Unknown keys are ignored.

use warp::Filter;
use warp::filters::BoxedFilter;

/// Extracts the raw query, or an empty string.
pub(super) fn raw() -> BoxedFilter<(String,)> {
    warp::query::raw().or(warp::any().map(String::new)).unify().boxed()
}

/// All values of a key, in order.
pub(super) fn all(query: &str, key: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(name, _)| name == key).map(|(_, value)| value.into_owned()).collect()
}

/// The last value of a key, which is the one that counts.
pub(super) fn last(query: &str, key: &str) -> Option<String> {
    all(query, key).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_one_counts() {
        let query = "camera=front&x&camera=back%2Dyard&quality=half&quality=full";
        assert_eq!(all(query, "camera"), ["front", "back-yard"]);
        assert_eq!(last(query, "quality").as_deref(), Some("full"));
        assert_eq!((last(query, "x").as_deref(), last(query, "y")), (Some(""), None));
    }
}
