//! What people use to run the exporter: the [`admin`] port, who has [`access`] to it, and what it shows (the [`view`],
//! and the [`status`] for people), its own log ([`logging`]), its end by [`signals`], what the [`service_manager`] is
//! told, the [`reload`] of files, and the [`commands`] beside running.

pub mod access;
pub mod admin;
pub mod commands;
mod html;
pub mod logging;
mod look_back;
mod negotiation;
mod pages;
mod refused_body;
pub mod reload;
pub mod service_manager;
pub mod signals;
pub mod status;
pub mod usage;
pub mod view;
