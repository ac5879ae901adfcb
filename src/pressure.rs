//! Reasons why a board runs slower than it could.

use serde::Serialize;

/// Why a board reduces its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pressure {
    /// It is too hot.
    Heat,
    /// Its power supply is too weak.
    UnderVoltage,
}
