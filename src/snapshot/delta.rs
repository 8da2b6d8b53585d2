//! What happened between two samples, for every type of the snapshot, in one place.

use std::collections::BTreeMap;

/// A figure that is read again and again.
pub trait Delta {
    /// What has been added since `earlier`. A figure that became smaller started anew (the scheduler was
    /// loaded again): then all of it is new.
    fn since(&self, earlier: &Self) -> Self;
}

impl Delta for u64 {
    fn since(&self, earlier: &Self) -> Self {
        self.checked_sub(*earlier).unwrap_or(*self)
    }
}

impl<T: Delta + Clone> Delta for Vec<T> {
    fn since(&self, earlier: &Self) -> Self {
        let pairs = self.iter().enumerate();
        pairs
            .map(|(i, now)| {
                earlier
                    .get(i)
                    .map_or_else(|| now.clone(), |then| now.since(then))
            })
            .collect()
    }
}

impl<K: Ord + Clone, V: Delta + Clone> Delta for BTreeMap<K, V> {
    fn since(&self, earlier: &Self) -> Self {
        let pairs = self.iter();
        pairs
            .map(|(key, now)| {
                let delta = earlier
                    .get(key)
                    .map_or_else(|| now.clone(), |then| now.since(then));
                (key.clone(), delta)
            })
            .collect()
    }
}

impl<T: Delta + Clone> Delta for Option<T> {
    fn since(&self, earlier: &Self) -> Self {
        match (self, earlier) {
            (Some(now), Some(then)) => Some(now.since(then)),
            _ => self.clone(),
        }
    }
}

/// Makes structs of figures: `count` fields only ever grow and are subtracted by [`Delta::since`],
/// `level` fields say how things stand and are kept. All can be written as JSON and read back; fields
/// that a peer of another version does not know, or does not send, do no harm.
macro_rules! figures {
    (@since count $now:expr, $then:expr) => { $crate::snapshot::Delta::since(&$now, &$then) };
    (@since level $now:expr, $then:expr) => { ($now).clone() };
    ($($(#[$of_struct:meta])* pub struct $name:ident {
        $($(#[$of_field:meta])* $kind:ident $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$of_struct])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$of_field])* pub $field: $type,)*
        }

        impl $crate::snapshot::Delta for $name {
            fn since(&self, earlier: &Self) -> Self {
                let _ = earlier; // unused where nothing counts
                Self {
                    $($field: figures!(@since $kind self.$field, earlier.$field),)*
                }
            }
        }
    )*};
}
pub(crate) use figures;

#[cfg(test)]
mod tests {
    use super::*;

    figures! {
        /// For the tests.
        pub struct Both {
            /// Grows.
            count grown: u64,
            /// Does not.
            level height: u64,
            /// Grows, by name.
            count by_name: BTreeMap<String, Vec<u64>>,
        }
    }

    fn both(grown: u64, height: u64, list: &[u64]) -> Both {
        Both {
            grown,
            height,
            by_name: BTreeMap::from([("a".to_owned(), list.to_vec())]),
        }
    }

    #[test]
    fn counts_are_subtracted_and_levels_kept() {
        let delta = both(10, 7, &[5, 9, 1]).since(&both(4, 9, &[5, 2]));
        assert_eq!(delta, both(6, 7, &[0, 7, 1]));
    }

    #[test]
    fn a_count_that_fell_started_anew() {
        assert_eq!(both(3, 0, &[]).since(&both(9, 0, &[])).grown, 3);
    }

    #[test]
    fn unknown_and_missing_fields_do_no_harm() {
        let read: Both = serde_json::from_str(r#"{"grown": 2, "from_the_future": [1]}"#).unwrap();
        assert_eq!((read.grown, read.height), (2, 0));
    }
}
