//! The guides, as they lie in `docs`, for whoever has a server and nothing else: as pages for a browser, and as the
//! Markdown that they are made of.

use crate::problem::Failure;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use edge::Refusal;
use http::{HeaderValue, StatusCode, header};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::sync::LazyLock;

/// A guide: its name in the address, its place below `docs`, its Markdown.
struct Guide {
    name: &'static str,
    place: &'static str,
    markdown: &'static str,
}

macro_rules! guides {
    ($($name:literal $place:literal,)+) => {
        [$(Guide { name: $name, place: $place, markdown: include_str!(concat!("../../../docs/", $place)) }),+]
    };
}

/// In the order in which they are read.
const GUIDES: [Guide; 16] = guides! {
    "integrate" "guides/integrate.md",
    "bulk" "guides/bulk.md",
    "wait" "guides/wait.md",
    "feed" "guides/feed.md",
    "lists" "guides/lists.md",
    "change-orders" "guides/change-orders.md",
    "pull-workers" "guides/pull-workers.md",
    "followers" "guides/followers.md",
    "kafka" "guides/kafka.md",
    "postgresql" "guides/postgresql.md",
    "rabbitmq" "guides/rabbitmq.md",
    "marketplaces" "guides/marketplaces.md",
    "webhooks" "guides/webhooks.md",
    "states" "states.md",
    "cli" "cli.md",
    "operations" "operations.md",
};

const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
nav { font-size: .9rem; border-bottom: 1px solid #8886; padding-bottom: .5rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
pre { padding: .75rem; background: #8882; overflow-x: auto; }
pre code { overflow-wrap: normal; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #8886; padding: .25rem .5rem; text-align: left; vertical-align: top; }";

/// Nothing runs, and nothing is loaded.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// Routes below `folder`, such as `/docs/guides`: the list, each guide, and with `.md` behind its name its Markdown.
pub(crate) fn routes(folder: &str) -> Router {
    Router::new()
        .route(folder, get(async || list(true)))
        .route(&format!("{folder}/"), get(async || list(false)))
        .route(&format!("{folder}/{{name}}"), get(async |Path(name): Path<String>| guide(&name)))
}

fn guide(name: &str) -> Result<Response, Failure> {
    let (wanted, as_markdown) = match name.strip_suffix(".md") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let Some(place) = GUIDES.iter().position(|guide| guide.name == wanted) else {
        return Err(Refusal::RouteUnknown.into());
    };
    if as_markdown {
        let markdown = HeaderValue::from_static("text/markdown; charset=utf-8");
        return Ok(edge::respond::with_type(StatusCode::OK, markdown, GUIDES[place].markdown).into_response());
    }
    static PAGES: LazyLock<Vec<String>> =
        LazyLock::new(|| GUIDES.iter().map(|guide| page(&title(guide.markdown), "", &body(guide))).collect());
    Ok(as_html(PAGES[place].clone()))
}

/// The list; beside the guides or, without the slash behind it, above them.
fn list(above: bool) -> Response {
    let folder = if above { "guides/" } else { "" };
    let line = |guide: &Guide| {
        let (name, title) = (guide.name, escape(&title(guide.markdown)));
        format!("<li><a href=\"{folder}{name}\">{title}</a></li>\n")
    };
    let lines: String = GUIDES.iter().map(line).collect();
    as_html(page("Guides", folder, &format!("<h1>Guides</h1>\n<ul>\n{lines}</ul>\n")))
}

fn as_html(html: String) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = edge::respond::with_type(StatusCode::OK, kind, html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response.into_response()
}

/// A page; `folder` is where the guides lie, seen from it.
fn page(title: &str, folder: &str, body: &str) -> String {
    let title = escape(title);
    let up = if folder.is_empty() { "../" } else { "./" };
    let list = if folder.is_empty() { "./" } else { folder };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} – wellorder</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <nav><a href=\"{up}\">API</a> · <a href=\"{list}\">Guides</a></nav>\n{body}</body>\n</html>\n"
    )
}

/// The text of the first heading.
fn title(markdown: &str) -> String {
    markdown.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default().replace('`', "")
}

/// The guide as HTML. Its own HTML is comments alone and goes; anything else would be text.
fn body(guide: &Guide) -> String {
    let parsed: Vec<Event<'_>> = Parser::new_ext(guide.markdown, Options::ENABLE_TABLES).collect();
    let mut events = Vec::with_capacity(parsed.len());
    let mut unlinked = false;
    for (at, event) in parsed.iter().enumerate() {
        match event {
            Event::Html(html) | Event::InlineHtml(html) if html.trim_start().starts_with("<!--") => {}
            Event::Html(html) | Event::InlineHtml(html) => events.push(Event::Text(html.clone())),
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let id = Some(CowStr::from(slug(&parsed[at..])));
                let (level, classes, attrs) = (*level, classes.clone(), attrs.clone());
                events.push(Event::Start(Tag::Heading { level, id, classes, attrs }));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => match target(guide, dest_url) {
                Some(dest_url) => events.push(Event::Start(Tag::Link {
                    link_type: *link_type,
                    dest_url: dest_url.into(),
                    title: title.clone(),
                    id: id.clone(),
                })),
                None => unlinked = true,
            },
            Event::End(TagEnd::Link) if unlinked => unlinked = false,
            other => events.push(other.clone()),
        }
    }
    let mut body = String::new();
    html::push_html(&mut body, events.into_iter());
    body
}

/// What a heading is linked by, as the sites that show Markdown have it.
fn slug(from: &[Event<'_>]) -> String {
    let inside = from.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let text = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_lowercase()),
        _ => None,
    });
    let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
    text.collect::<String>().chars().filter(kept).map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// Where a link of a guide leads here: to another guide, within its own; elsewhere is nothing to be had offline.
fn target(guide: &Guide, link: &str) -> Option<String> {
    if link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (file, mark) = link.split_once('#').map_or((link, ""), |(file, mark)| (file, mark));
    let mut folders: Vec<&str> = guide.place.split('/').collect();
    folders.pop();
    for part in file.split('/') {
        if part == ".." {
            folders.pop()?;
        } else {
            folders.push(part);
        }
    }
    let place = folders.join("/");
    let name = GUIDES.iter().find(|other| other.place == place)?.name;
    Some(if mark.is_empty() { name.to_owned() } else { format!("{name}#{mark}") })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_of_a_guide_is_text_and_comments_go() {
        let markdown = "# A `b` & c\n\n<!-- run:begin -->\n<script>x</script>\n\nsee <b>d</b> [e](javascript:x) [f](cli.md#a)";
        let guide = Guide { name: "x", place: "x.md", markdown };
        let html = body(&guide);
        assert_eq!(title(markdown), "A b & c");
        assert!(html.starts_with("<h1 id=\"a-b--c\">A <code>b</code> &amp; c</h1>"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("run:begin"), "{html}");
        assert!(!html.contains("javascript") && html.contains("<a href=\"cli#a\">f</a>"), "{html}");
    }

    #[test]
    fn every_link_within_the_guides_leads_to_something() {
        for guide in &GUIDES {
            let html = body(guide);
            assert!(html.starts_with("<h1 id="), "{}", guide.name);
            for link in html.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let (name, mark) = link.split_once('#').unwrap_or((link, ""));
                let wanted = if name.is_empty() { guide.name } else { name };
                let there = GUIDES.iter().find(|other| other.name == wanted).map(body);
                let there = there.unwrap_or_default();
                let id = format!("id=\"{mark}\"");
                let is_there = !there.is_empty() && (mark.is_empty() || there.contains(&id));
                assert!(is_there, "{}: {link}", guide.name);
            }
        }
    }
}
