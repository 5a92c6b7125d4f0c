//! What the slow path listens to, and how it waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use portcullis_core::time::Mono;
use portcullis_sys::clock;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A descriptor that the kernel announces changes by, and a way to wait for it.
pub(super) struct Ear<T> {
    ready: AsyncFd<OwnedFd>,
    socket: T,
}

impl<T: AsFd> Ear<T> {
    pub(super) fn new(socket: T) -> io::Result<Ear<T>> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe and asks for what an OwnedFd keeps anyway; unsafe stays in portcullis-sys"
        )]
        let ready = AsyncFd::new(socket.as_fd().try_clone_to_owned()?)?;
        Ok(Ear { ready, socket })
    }
}

/// Waits until the kernel announces something, and reads it. Without an ear it waits for ever.
pub(super) async fn announced<T, C, E>(
    ear: Option<&mut Ear<T>>,
    drain: impl Fn(&mut T) -> Result<C, E>,
) -> io::Result<C>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(ear) = ear else { return std::future::pending().await };
    let mut ready = ear.ready.readable().await?;
    ready.clear_ready();
    drain(&mut ear.socket).map_err(io::Error::other)
}

pub(super) async fn at_mono(moment: Option<Mono>) {
    let wait = moment.map(|moment| Instant::now() + moment.since(clock::now().mono));
    at(wait).await;
}

pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
