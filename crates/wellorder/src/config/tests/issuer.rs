//! Settings of an issuer that publishes its keys.

use super::{load_ok, problems, toml};

#[test]
fn an_issuer_with_published_keys_is_pinned() {
    let whole = "[auth]\njwks_url = \"https://id.example/keys\"\njwks_issuer = \"https://id.example\"\njwks_audience = \"orders\"";
    let auth = load_ok(&toml(whole)).settings.auth;
    assert_eq!(auth.jwks_url.as_deref(), Some("https://id.example/keys"));
    assert_eq!(
        (auth.jwks_issuer.as_deref(), auth.jwks_audience.as_deref()),
        (Some("https://id.example"), Some("orders"))
    );
    let said = problems(&toml("[auth]\njwks_url = \"http://id.example/keys\""));
    for part in
        ["auth.jwks_issuer: is not set", "auth.jwks_audience: is not set", "auth.jwks_url is no https:// URL"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("auth.jwks_issuer: is not set"), "the place is its name: {said}");
    // What only this network can reach is called where somebody says so.
    for (url, private, fits) in [
        ("https://10.0.0.1/keys", true, true),
        ("https://10.0.0.1/keys", false, false),
        ("https://0x7f.1/keys", false, false),
        ("https://user:pass@id.example/keys", true, false),
    ] {
        let rest = "jwks_issuer = \"https://id.example\"\njwks_audience = \"orders\"";
        let file = format!("[auth]\njwks_url = \"{url}\"\njwks_allow_private = {private}\n{rest}");
        let inputs = toml(&file);
        if fits {
            load_ok(&inputs);
        } else {
            let said = problems(&inputs);
            assert!(said.contains("auth.jwks_url") && !said.contains("pass@"), "{said}");
        }
    }
    assert!(problems(&toml("[auth]\njwks_issuer = \"x\"")).contains("without auth.jwks_url"));
    assert!(problems(&toml("[auth]\njwks_algorithms = \"HS256\"")).contains("is not known"));
}
