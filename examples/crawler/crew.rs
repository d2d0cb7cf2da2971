//! The worker processes, as their parent sees them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use crate::Result;

/// Processes that end with their parent, if they are not killed before.
pub(crate) struct Crew(Vec<Child>);

impl Crew {
    /// Starts workers; this very program is what they run.
    pub(crate) fn start(workers: u16, directory: &Path, server: SocketAddr) -> Result<Crew> {
        let mut crew = Crew(Vec::new());
        for _ in 0..workers {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--worker").arg(server.to_string()).arg("--directory").arg(directory);
            crew.0.push(command.spawn()?);
        }
        Ok(crew)
    }

    /// Whether all have come to their end, which is to be a good one.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        let mut has_ended = true;
        for worker in &mut self.0 {
            match worker.try_wait()? {
                Some(status) if !status.success() => {
                    return Err(format!("worker {} has failed: {status}", worker.id()).into());
                }
                status => has_ended &= status.is_some(),
            }
        }
        Ok(has_ended)
    }

    /// `kill -9` for all.
    pub(crate) fn kill(&mut self) -> Result<()> {
        for worker in &mut self.0 {
            worker.kill()?;
        }
        for worker in &mut self.0 {
            worker.wait()?;
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // There is nobody to be told that one has ended already.
        let _ = self.kill();
    }
}
