//! A web server for the made-up site: a thread for each connection, one request for each.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use firncache::Cache;

use crate::Result;
use crate::crawl::Crawl;
use crate::site::Site;

/// Serves until this process ends, at an address that the system chooses.
pub(crate) fn start(site: Site, crawl: &Crawl) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let requests = crawl.requests.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let requests = requests.clone();
            std::thread::spawn(move || {
                // A client that is killed while it is served is nothing unusual.
                let _ = serve(site, &requests, connection);
            });
        }
    });
    Ok(address)
}

fn serve(site: Site, requests: &Cache, mut connection: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().ok_or("nothing was asked for")??;
    // The rest of the head says nothing that matters here.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let Some(number) = site.number(path) else {
        write!(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(());
    };
    requests.incr(path, 1)?;
    std::thread::sleep(Site::latency(number));
    let html = site.html(number);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", html.len());
    connection.write_all((head + &html).as_bytes())?;
    Ok(())
}
