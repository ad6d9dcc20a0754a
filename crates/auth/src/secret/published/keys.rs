//! The keys themselves, as they are printed. A key belongs here when many have seen it: a standard, a manual, a tutorial that
//! is much copied. One that somebody left in a repository by mistake does not.

/// With where each is printed.
pub(super) const KEYS: &[&str] = &[
    // RFC 7515 A.1 (RFC 7517 A.3 and RFC 7519 use it too) with its signature, A.2 is no secret of this kind, A.3, A.4.
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    // RFC 7520 3.5 and 3.6.
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    "AAPapAv4LbFbiVawEjagUBluYqN5rhna-8nuldDvOx8",
    // RFC 7636 B: the challenge; the verifier is the signature above.
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    // RFC 7748 6.1.
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    // RFC 8032 7.1, RFC 8037 A.1: the first private key and its public one, the second private one.
    "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    // RFC 8439 2.5.2 and A.3.
    "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
    "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
    // RFC 9562 A and B, RFC 4122: the UUIDs that are of chance there.
    "919108f7-52d1-4320-9bac-f847db4148a8",
    // FIPS 197 A and SP 800-38A F: AES with 192 and 256 bits. The key of 128 bits is of e, below.
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    // Digits of π and e, of ten and of sixteen, and of the square root of 2 and the golden ratio, and the constants of SHA-256.
    "3.14159265358979323846264338327950288419716939937510582097494459",
    "2.71828182845904523536028747135266249775724709369995957496696763",
    "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
    "2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfe",
    "6a09e667f3bcc908b2fb1366ea957d3e3adec17512775099da2f590b0667322a",
    "9e3779b97f4a7c15f39cc0605cedc8341082276bf3a27251f86c6a11d0c18e95",
    "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19",
    "428a2f9871374491b5c0fbcfe9b5dba53956c25b59f111f1923f82a4ab1c5ed5",
    // The base points of P-256 and secp256k1.
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    // jwt.io: the signatures of its token, by its former secret and by its present one.
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "KMUFsIDTnFmyG3nMiGM6H9FNFUROf3wh7SmqJp-QV30",
    // FastAPI's manual, "OAuth2 with Password (and hashing), Bearer with JWT tokens".
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    // Flask's manual, and a much seen tutorial on it.
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "5791628bb0b13ce0c676dfde280ba245",
    // The manuals of jsonwebtoken and jose for Node.
    "GQDstcKsx0NHjPOuXOYg5MbeJ1XT0uFiwDVvVBrk",
    "cc7e0d44fd473002f1c42167459001140ec6389b7353f8088f4d9a95f2f596f2",
    // Hasura's manual, Directus' manual, Rocket's guide, Laravel's tests.
    "3EK6FD+o0+c7tzBNVfjpMkNDi2yARAAKzQlk8O2IKoxQu4nF7EdAh8s3TwpHwrdWT6R",
    "255d861b-5ea1-5996-9aa3-922530ec40b1",
    "6116487b-cda1-52c2-b5b5-c8022c45e263",
    "hPRYyVRiMyxpw5sBB1XeCMN1kFsDCqKvBi2QJxBVHQk=",
    "2fl+Ktvkfl+Fuz4Qp/A75G2RTiWVA/ZoKZvp6fiiM10=",
    // Standard Webhooks.
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    // Hardhat, Anvil and Ganache: the first private key of every chain for trials.
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d",
    // Tutorials on JWT with Spring; the first two are of a generator of keys, see `is_generated`.
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "413F4428472B4B6250655368566D5970337336763979244226452948404D6351",
    "3cfa76ef14937c1c0ea519f8fc057a80fcd04a7420f8e8bcd0a7567c272e007b",
    "daf66e01593f61a15b857cf433aae03a005812b31234e149036bcc8dee755dbb",
    "9faa372517ac1d389758d3750fc07acf00f542277f26fec1ce4593e93f64e338",
    "TaK+HaV^uvCHEFsEVfypW#7g9^k*Z8$V",
    // Applications begun from JHipster: a text in hexadecimal digits, in base64.
    "ZmQ0ZGI5NjQ0MDQwY2I4MjMxY2Y3ZmI3MjdhN2ZmMjNhODViOTg1ZGE0NTBjMGM4NDA5NzYxMjdjOWMwYWRmZTBlZjlhNGY3ZTg4Y2U3YTE1ODVkZDU5Y2Y3OGYwZWE1NzUzNWQ2YjFjZDc0NGMxZWU2MmQ3MjY1NzJmNTE0MzI=",
    // UUIDs of chance that manuals show: Swagger UI, PostgreSQL, the packages for Node, Python and Rust, and others.
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
    "110ec58a-a0f2-4ac4-8393-c866d813b8d1",
    "16fd2706-8baf-433b-82eb-8c7fada847da",
    "936da01f-9abd-4d9d-80c7-02af85c822a8",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "550e8400-e29b-41d4-a716-446655440000",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "123e4567-e89b-12d3-a456-426614174000",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    // A much copied tutorial on JWT; two on ASP.NET.
    "NTNv7j0TuYARvmNMmWXo6fKvM4o6nv/aUi9ryX38ZH+L1bkrnD1ObOQ8JAUmHCBq7Iy7otZcyAagBLHVKvvYaIpmMuxmARQ97jUVG16Jkpkp1wXOPsrF9zwew6TpczyHkHgX5EuLg2MeBuiT/qJACs1J0apruOOJCg/gOtkjB4c=",
    "ByYM000OLlMQG6VVVp1OH7Xzyr7gHuw1qvUC5dcGt3SNM",
    "IxrAjDoa2FqElO7IhrSrUJELhUckePEPVpaePlS_Xaw",
    // The keys that Dubbo Admin, APISIX and Dify begin with.
    "86295dd0c4ef69a1036b0b0c15158d77",
    "edd1c9f034335f136f87ad84b625c8f1",
    "4054f7cf07e344346cd3f287985e76a2",
    "sk-9f73s3ljTXVcMT3Blb3ljTqtsKiGHXVcMT3BlbkFJLK7U",
    // The manuals of one-time passwords, twice as long as printed.
    "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    // Manuals and example settings of LibreChat, Centrifugo, Supabase, Infisical, AWS, Azurite, Cosmos DB's emulator, Stripe,
    // Kibana, Symfony, Airflow and Superset; much copied code with React, ASP.NET and Spring.
    "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
    "bbe7d157-a253-4094-9759-06a8236543f9",
    "UpNVntn3cDxHJpq99YMc1T1AQgQpc8kfYTuRgBiYa15BLrx8etQoXz3gZv1/u2oq",
    "5lrMXKKWCVocS/uerPsl7V+TX/aaUaI7iDkgl3tSmLE=",
    "6c1fe4e407b8911c104518103505b218",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
    "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "a7a6311933d3503b89bc2dbc36572c33a6c10925682e591bffcab6911c06786d",
    "67d829bf61dc5f87a73fd814e2c9f629",
    "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=",
    "thisismyscretkey",
    "dd5f3089-40c3-403d-af14-d0c228b05cb4",
    "856FECBA3B06519C8DDDBC80BB080553",
    "Yh2k7QSu4l8CZg5p6X3Pna9L0Miy4D3Bvt0JVr87UcOj69Kqw5R2Nmf4FWs03Hdx",
    "9a02115a835ee03d5fb83cd8a468ea33e4090aaaec87f53c9fa54512bbef4db8dc656c82a315fa0c785c08b0134716b81ddcd0153d2a7556f2e154912cf5675f",
    // Words that are hexadecimal digits.
    "deadbeefcafebabe0badf00dfeedface8badf00d",
    // What stands where text is to come, with and without spaces.
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua",
    "loremipsumdolorsitametconsecteturadipiscingelitseddoeiusmodtemporincididuntutlaboreetdoloremagnaaliqua",
    // MD5 of nothing and of much used words; other hashes are made, see `digests`.
    "d41d8cd98f00b204e9800998ecf8427e",
    "0cc175b9c0f1b6a831c399e269772661",
    "098f6bcd4621d373cade4e832627b4f6",
    "21232f297a57a5a743894a0e4a801fc3",
    "5ebe2294ecd0e0f08eab7690d2a6ee69",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "4cb9c8a8048fd02294477fcb1a41191a",
    "d8578edf8458ce06fbc5bb76a58c5ca4",
    "5d41402abc4b2a76b9719d911017c592",
    "e10adc3949ba59abbe56e057f20f883e",
];
