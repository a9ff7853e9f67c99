//! What is damaged or does not belong is told, and never counted.
