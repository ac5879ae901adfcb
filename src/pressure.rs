//! Why a board is slower than it could be.

use serde::Serialize;

/// Why a board slows itself down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pressure {
    /// It is too hot.
    Heat,
    /// Its power supply is too weak.
    UnderVoltage,
}
