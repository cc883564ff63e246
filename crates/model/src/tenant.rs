//! The isolation unit.

use std::fmt;

/// Longest tenant name in bytes (Loki v3.7.6).
const NAME_BYTES_MAX: usize = 150;

/// The name of an isolation unit: its data, limits and caches are nobody else's.
///
/// 1 to 150 bytes of `A-Z a-z 0-9 ! - _ . * ' ( )`, never `.` or `..`, as in Loki v3.7.6.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// Why a text is no tenant name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TenantError {
    /// The name is empty.
    #[error("no org id")]
    Empty,
    /// The name is longer than allowed.
    #[error("tenant ID is too long: max {NAME_BYTES_MAX} characters")]
    TooLong,
    /// The name is `.` or `..`.
    #[error("tenant ID is '.' or '..'")]
    Dots,
    /// The name holds a character outside the allowed set.
    #[error("tenant ID '{name}' contains unsupported character '{character}'")]
    Character {
        /// The refused name.
        name: String,
        /// Its first character outside the set.
        character: char,
    },
}

impl Tenant {
    /// Returns the tenant that everything belongs to while tenancy is off.
    pub fn single() -> Self {
        Self("fake".to_owned())
    }

    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            return Err(TenantError::Character { name: name.to_owned(), character });
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(TenantError::TooLong);
        }
        if name == "." || name == ".." {
            return Err(TenantError::Dots);
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name, which is safe as the name of a folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_lokis_rules() {
        assert!(Tenant::new("team-a_1.x!*'()").is_ok());
        assert_eq!(Tenant::new(""), Err(TenantError::Empty));
        assert_eq!(Tenant::new(".."), Err(TenantError::Dots));
        assert_eq!(Tenant::new(&"x".repeat(151)), Err(TenantError::TooLong));
        assert_eq!(
            Tenant::new("a/b").unwrap_err().to_string(),
            "tenant ID 'a/b' contains unsupported character '/'"
        );
    }
}
