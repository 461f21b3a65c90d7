//! The signals by which the program is asked to stop.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn received(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    }
}

/// Turns true with the first signal.
pub fn stopping() -> io::Result<watch::Receiver<bool>> {
    let mut signals = StopSignals::listen()?;
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        signals.received().await;
        stop.send_replace(true);
    });
    Ok(stopping)
}
