//! Just enough of HTTP and HTML to fetch a page and see where it leads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Result;
use crate::site::Page;

pub(crate) fn fetch(server: SocketAddr, path: &str) -> Result<Page> {
    let mut connection = TcpStream::connect(server)?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    let (head, html) = response.split_once("\r\n\r\n").ok_or("the response has no end")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{path}: {}", head.lines().next().unwrap_or_default()).into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    if length != Some(html.len().to_string().as_str()) {
        return Err(format!("{path}: the response was cut off").into());
    }
    let title = between(html, "<title>", "</title>").next().unwrap_or_default();
    let links = between(html, "<a href=\"", "\"").map(String::from).collect();
    Ok(Page { title: title.into(), links, size: html.len() as u64 })
}

/// Every text that stands between these two.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}
