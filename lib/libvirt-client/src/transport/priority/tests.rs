//! Lists, and hosts that permit less.

use super::*;
use rustls::SignatureScheme;

fn suites(text: &str) -> Vec<String> {
    let priority: Priority = text.parse().unwrap_or_else(|error| panic!("{error}"));
    priority.provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
}

#[test]
fn what_is_as_wide_as_ours_is_ours() {
    for text in [
        "NORMAL",
        "system",
        "@LIBVIRT,SYSTEM",
        "SECURE128",
        "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1:-ARCFOUR-128",
        "NORMAL:+VERS-TLS1.1:+AES-256-CBC",
        "NONE:+VERS-ALL:+CIPHER-ALL:+KX-ALL:+MAC-ALL:+GROUP-ALL:+SIGN-ALL:+COMP-NULL",
        "SECURE192:+SECURE128",
        "NORMAL:-GROUP-DH-ALL:-CTYPE-X509:-CTYPE-ALL:-COMP-ALL:-CURVE-SECP521R1:-SIGN-DSA-SHA256:-SIGN-GOST-ALL",
        "@SYSTEM:-VERS-TLS1.1",
    ] {
        assert_eq!(text.parse::<Priority>().unwrap(), Priority::default(), "{text}");
    }
    assert_eq!(suites("NORMAL").len(), 9);
}

#[test]
fn what_is_taken_away_is_not_offered() {
    for text in ["NORMAL:-VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-KX-ALL"] {
        let left = suites(text);
        assert!(left.len() == 3 && left.iter().all(|suite| suite.starts_with("TLS13_")), "{text}: {left:?}");
    }
    let only: Priority = "NORMAL:-VERS-TLS1.3".parse().unwrap();
    assert_eq!(only.versions(), [&version::TLS12]);
    assert!(!suites("NORMAL:-AES-128-GCM").iter().any(|suite| suite.contains("AES_128")));
    assert!(!suites("NORMAL:!CHACHA20-POLY1305").iter().any(|suite| suite.contains("CHACHA")));
    assert!(!suites("NORMAL:-ECDHE-RSA").iter().any(|suite| suite.contains("ECDHE_RSA")));
    let groups = |text: &str| {
        let provider = text.parse::<Priority>().unwrap().provider();
        provider.kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>()
    };
    assert_eq!(groups("NORMAL:-GROUP-ALL:+CURVE-SECP384R1"), [NamedGroup::secp384r1]);
    assert!(!groups("NORMAL:-GROUP-X25519").contains(&NamedGroup::X25519));
    let without = "NONE:+VERS-ALL:+CIPHER-ALL:+KX-ALL:+MAC-ALL:+SIGN-ALL";
    assert!(!groups(&format!("{without}:+GROUP-EC-ALL")).contains(&NamedGroup::X25519MLKEM768));
    "NORMAL:-VERS-TLS1.2:%SAFE_RENEGOTIATION".parse::<Priority>().unwrap();
    assert!("NORMAL:%FORCE_SESSION_HASH".parse::<Priority>().unwrap().session_hash);
}

#[test]
fn a_high_level_has_long_keys_and_strong_signatures_alone() {
    for text in ["SECURE192", "SECURE256:%SERVER_PRECEDENCE"] {
        let provider = text.parse::<Priority>().unwrap().provider();
        assert!(!suites(text).iter().any(|suite| suite.contains("AES_128")), "{text}");
        assert_eq!(provider.kx_groups.len(), 1, "{text}");
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        assert!(!schemes.is_empty(), "{text}");
        assert!(schemes.iter().all(|scheme| !format!("{scheme:?}").contains("RSA_")), "{schemes:?}");
        assert!(!schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256), "{schemes:?}");
    }
}

#[test]
fn what_cannot_be_obeyed_is_refused_by_name() {
    for (text, word) in [
        ("NORMAL:+NULL", "+NULL"),
        ("NORMAL:+ANON-ECDH", "+ANON-ECDH"),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.0", "leaves nothing"),
        ("NONE", "leaves nothing"),
        ("NORMAL:-AEAD", "leaves nothing"),
        ("NORMAL:-GROUP-ALL", "leaves nothing"),
        ("NORMAL:-CURVE-ALL", "leaves nothing"),
        ("NORMAL:-SIGN-ALL", "leaves nothing"),
        ("SECURE256:-SIGN-ALL", "leaves nothing"),
        ("NONE:+VERS-ALL:+CIPHER-ALL:+KX-ALL:+MAC-ALL:+GROUP-ALL", "leaves nothing"),
        ("NORMAL:%SAFE_RENEGOTIATION", "%SAFE_RENEGOTIATION"),
        ("@MINE", "@MINE is a list that the host does not define"),
        ("@LIBVIRT,MINE", "does not define"),
        ("NORMAL:+@LIBVIRT", "+@LIBVIRT"),
        // Not passed over: what is taken away may be what matters.
        ("NORMAL:-SIGN-RSA-SHA255", "-SIGN-RSA-SHA255"),
        ("NORMAL:-AES128-GCM", "-AES128-GCM"),
        ("NORMAL:%PROFILE_ULTRA", "%PROFILE_ULTRA"),
        ("NORMAL:AES-128-GCM", "none of"),
        ("NORMAL:", "none of"),
        ("", "no beginning"),
        ("SECUER256", "SECUER256"),
    ] {
        let error = text.parse::<Priority>().unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(text), "{text}: {error}");
    }
}

#[test]
fn lists_of_the_host_are_obeyed() {
    assert_eq!(Priority::on_host("@FIRST", "FIRST = SECURE256").unwrap(), "SECURE256".parse().unwrap());
    let settings = "# of the host\n[global]\nSYSTEM = NONE\n\n[priorities]\nSYSTEM=NORMAL:-VERS-TLS1.2\n MINE = SECURE256 \n[overrides]\nLIBVIRT=NORMAL\n";
    let read = |text: &str| Priority::on_host(text, settings);
    for text in ["@LIBVIRT,SYSTEM", "@SYSTEM", "SYSTEM", "@libvirt,system:+VERS-TLS1.1"] {
        assert_eq!(read(text).unwrap().versions(), [&version::TLS13], "{text}");
    }
    assert_eq!(read("@MINE,SYSTEM").unwrap(), "SECURE256".parse().unwrap());
    assert_eq!(read("NORMAL").unwrap(), Priority::default());
    assert_eq!(read("@LIBVIRT").unwrap(), Priority::default(), "it is defined elsewhere alone");
    let error = read("@SYSTEM:-VERS-TLS1.3").unwrap_err().to_string();
    assert!(error.contains("leaves nothing") && error.contains("NORMAL:-VERS-TLS1.2"), "{error}");
    assert!(read("@OTHER").is_err());
}

/// Those that have names in lists: what is newer is taken where nothing is taken away.
fn schemes(priority: &Priority) -> Vec<SignatureScheme> {
    let mut schemes = priority.provider().signature_verification_algorithms.supported_schemes();
    schemes.retain(|scheme| !format!("{scheme:?}").contains("ML_DSA"));
    schemes
}

#[test]
fn a_signature_that_is_taken_away_is_not_taken() {
    let all = schemes(&Priority::default());
    for (text, gone) in [
        ("NORMAL:-SIGN-RSA-SHA256", vec![SignatureScheme::RSA_PKCS1_SHA256]),
        ("NORMAL:-SIGN-ECDSA-SECP256R1-SHA256", vec![SignatureScheme::ECDSA_NISTP256_SHA256]),
        (
            "NORMAL:!SIGN-ECDSA-SHA512:-SIGN-EDDSA-ED25519",
            vec![SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED25519],
        ),
    ] {
        let left = schemes(&text.parse().unwrap());
        assert!(all.iter().all(|scheme| left.contains(scheme) != gone.contains(scheme)), "{text}: {left:?}");
    }
    let newest = |text: &str| {
        let algorithms = text.parse::<Priority>().unwrap().provider().signature_verification_algorithms;
        algorithms.supported_schemes().contains(&SignatureScheme::ML_DSA_65)
    };
    assert!(newest("NORMAL") && !newest("NORMAL:-SIGN-RSA-SHA256"));
    assert_eq!("NORMAL:-SIGN-ALL:+SIGN-ALL".parse::<Priority>().unwrap(), Priority::default());
    assert_eq!(all.len(), 10, "{all:?}");
}

#[test]
fn overrides_of_the_host_are_obeyed_whatever_a_list_says() {
    let read = |list: &str, words: &str| Priority::on_host(list, &format!("[overrides]\n{words}\n"));
    let groups = |priority: &Priority| priority.groups().collect::<Vec<_>>();
    for list in ["NORMAL", "@SYSTEM", "SECURE128:+VERS-ALL:+CIPHER-ALL:+KX-ALL:+GROUP-ALL:+SIGN-ALL"] {
        assert_eq!(
            read(list, "disabled-version = tls1.2\ndisabled-version=tls1.1").unwrap().versions(),
            [&version::TLS13]
        );
        let suites = |words: &str| {
            let priority = read(list, words).unwrap();
            priority.suites().map(|suite| format!("{:?}", suite.suite())).collect::<Vec<_>>()
        };
        assert!(suites("tls-disabled-cipher = aes-128-gcm").iter().all(|suite| !suite.contains("AES_128")));
        assert!(suites("TLS-Disabled-KX = ECDHE-RSA # so").iter().all(|suite| !suite.contains("ECDHE_RSA")));
        // What nobody knows GnuTLS passes over, and so does this; what rustls has not needs no taking away.
        for words in [
            "tls-disabled-cipher = 3des-cbc",
            "tls-disabled-cypher = aes-128-gcm",
            "insecure-hash = sha1",
            "[overrides",
            "min-verification-profile = medium",
            "insecure-sig-for-cert = rsa-sha1",
            "allow-rsa-pkcs1-encrypt = false",
        ] {
            assert_eq!(read(list, words).unwrap(), Priority::default(), "{words}");
        }
        for words in [
            "tls-disabled-group = group-secp384r1",
            "tls-disabled-group = SECP384R1",
            "disabled-curve = secp384r1",
        ] {
            assert!(!groups(&read(list, words).unwrap()).contains(&NamedGroup::secp384r1), "{words}");
        }
        assert_eq!(
            groups(&read(list, "disabled-curve = x25519").unwrap()),
            [NamedGroup::secp256r1, NamedGroup::secp384r1]
        );
        let curve = schemes(&read(list, "disabled-curve = secp384r1").unwrap());
        assert!(!curve.contains(&SignatureScheme::ECDSA_NISTP384_SHA384) && curve.len() == 9, "{curve:?}");
        let hash = schemes(&read(list, "insecure-hash = SHA256").unwrap());
        assert!(
            hash.len() == 7 && hash.iter().all(|scheme| !format!("{scheme:?}").contains("SHA256")),
            "{hash:?}"
        );
        assert!(read(list, "tls-session-hash = require").unwrap().session_hash);
        let error = read(list, "tls-disabled-mac = aead").unwrap_err().to_string();
        assert!(error.contains("[overrides]") && error.contains(list), "{error}");
        let error = read(list, "min-verification-profile = high").unwrap_err().to_string();
        assert!(error.contains("min-verification-profile = high"), "{error}");
    }
}

#[test]
fn a_signature_may_be_withheld_from_certificates_alone() {
    let host = "[overrides]\ninsecure-sig-for-cert = rsa-sha256\n";
    let only = Priority::on_host("NORMAL", host).unwrap();
    assert_eq!(schemes(&only), schemes(&Priority::default()));
    let certified = |priority: &Priority| {
        let algorithms = priority.provider().signature_verification_algorithms.all;
        algorithms.iter().any(|known| known.signature_alg_id() == rustls::pki_types::alg_id::RSA_PKCS1_SHA256)
    };
    assert!(certified(&Priority::default()) && !certified(&only));
    // Nor are keys of a curve that was taken away, with whatever they sign.
    let without = Priority::on_host("NORMAL", "[overrides]\ndisabled-curve = secp384r1\n").unwrap();
    let keys = without.provider().signature_verification_algorithms;
    let mapped = keys.mapping.iter().flat_map(|(_, algorithms)| *algorithms);
    assert!(
        keys.all
            .iter()
            .chain(mapped)
            .all(|known| known.public_key_alg_id() != rustls::pki_types::alg_id::ECDSA_P384)
    );
}

#[test]
fn a_host_that_gives_permits_nothing_else() {
    let given = "[global]\noverride-mode = allowlist\n[overrides]\nsecure-hash = sha256\nenabled-curve = secp256r1\n\
                 secure-sig = ecdsa-secp256r1-sha256\nenabled-version = tls1.3\ntls-enabled-cipher = aes-128-gcm\ntls-enabled-mac = aead\n\
                 tls-enabled-group = secp256r1\n";
    for list in ["NORMAL", "@SYSTEM", "@LIBVIRT,SYSTEM:+VERS-TLS1.2"] {
        let only = Priority::on_host(list, given).unwrap();
        assert_eq!(only.versions(), [&version::TLS13], "{list}");
        assert_eq!(only.groups().collect::<Vec<_>>(), [NamedGroup::secp256r1], "{list}");
        assert_eq!(only.suites().count(), 1, "{list}");
        assert_eq!(schemes(&only), [SignatureScheme::ECDSA_NISTP256_SHA256], "{list}");
    }
    // Where things are given a host says so, and of the second word of a value nothing is meant (both tried with GnuTLS 3.7.9).
    let odd = given.replace("tls1.3", "tls1.3 x") + "[priorities]\nSYSTEM=NONE\n";
    assert_eq!(Priority::on_host("@LIBVIRT,SYSTEM", &odd).unwrap().versions(), [&version::TLS13]);
    // Each of them is needed.
    for line in given.lines().skip(3) {
        let error = Priority::on_host("NORMAL", &given.replace(line, "")).unwrap_err().to_string();
        assert!(error.contains("leaves nothing"), "{line}: {error}");
    }
}

#[test]
fn of_two_both_are_obeyed() {
    let both = "NORMAL:-VERS-TLS1.2".parse::<Priority>().unwrap().and(&"SECURE256".parse().unwrap());
    assert_eq!(both.versions(), [&version::TLS13]);
    assert!(both.suites().all(|suite| !format!("{:?}", suite.suite()).contains("AES_128")));
}
