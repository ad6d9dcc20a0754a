//! What the fuzz targets see of this crate besides its interface.

use crate::check;
use crate::framing::{Verdict, Watch};
use http::{HeaderMap, HeaderValue, Method, Uri, header};

/// Watches the bytes of a connection as they come, piece by piece. Gives the index of the request that is refused for
/// its framing, if there is one below `requests_max`, and whether the end lies between two requests.
pub fn framing<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, requests_max: usize) -> (Option<usize>, bool) {
    let (mut watch, verdict) = (Watch::default(), Verdict::default());
    pieces.into_iter().for_each(|piece| watch.feed(piece, &verdict));
    ((0..requests_max).find(|_| verdict.next_is_ambiguous()), watch.is_between_requests())
}

/// Whether the path of a request decodes to text.
pub fn path_is_text(path: &str) -> bool {
    check::is_text(path)
}

/// Whether a request that names this host, and this origin if one is given, counts as local.
pub fn host_is_local(method: &Method, uri: &Uri, host: &HeaderValue, origin: Option<&HeaderValue>) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host.clone());
    if let Some(origin) = origin {
        headers.insert(header::ORIGIN, origin.clone());
    }
    check::is_local(method, uri, &headers)
}
