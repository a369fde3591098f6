//! The language of a text.
//!
//! `whatlang` compares a text with the profiles of all languages of its script, 45 µs for one in Latin letters: half of
//! an import's time. So where the function words of one large language leave no doubt they decide, in 1 µs; on short
//! texts, of which trigrams tell little, they also decide better.

use std::sync::LazyLock;

use hashbrown::HashMap;

/// Enough to tell a language.
const DETECTED_CHARACTERS: usize = 1_000;
const COUNTED_WORDS: usize = 40;
/// Of fewer letters of an alphabet that many languages share, nothing is certain.
const LEAST_LETTERS: usize = 40;

/// Words that are frequent in one language and no words of another with the same letters.
const FUNCTION_WORDS: [(&str, &str); 7] = [
    (
        "en",
        "the and are what how you your this that with from have has does when why which would should there if my can't \
         don't doesn't isn't it's i'm where who please could because they been were their about after into every each \
         than only these those then them while without",
    ),
    (
        "de",
        "der das und ist nicht ich eine einen einem einer für auf mit auch oder werden wird kann wir sie aber noch \
         beim nur wenn zum zur sind habe haben warum welche meine mein",
    ),
    ("fr", "une pas pour dans avec vous nous je mais cette sont du votre être mon quand où aussi très peut faire"),
    ("es", "los las pero cómo qué puedo tengo hay muy cuando esto y del también dónde porque hacer estoy"),
    ("pt", "não uma você isso são pelo pela meu minha também então fazer estou quando onde obrigado vocês"),
    ("it", "che della sono gli questo posso anche più perché delle nel nella quando dove fare ho questa"),
    ("nl", "een niet ik voor zijn naar hoe heb mijn deze zou moet geen wordt waarom kunnen bij"),
];

static LANGUAGE_OF_WORD: LazyLock<HashMap<&str, Option<usize>>> = LazyLock::new(|| {
    let mut languages: HashMap<&str, Option<usize>> = HashMap::new();
    for (language, (_, words)) in FUNCTION_WORDS.iter().enumerate() {
        for word in words.split_ascii_whitespace() {
            // A word of two of them tells nothing.
            languages.entry(word).and_modify(|known| *known = None).or_insert(Some(language));
        }
    }
    languages
});

/// ISO 639-1 code where there is one, else ISO 639-3; `None` where the text does not tell it reliably.
pub(crate) fn detect(text: &str) -> Option<&'static str> {
    let end = text.char_indices().nth(DETECTED_CHARACTERS).map_or(text.len(), |(end, _)| end);
    let text = text.get(..end)?;
    if let Some(code) = by_function_words(text) {
        return Some(code);
    }
    let mut letters = text.chars().filter(|character| character.is_alphabetic());
    if letters.by_ref().take(LEAST_LETTERS).all(is_latin) && letters.next().is_none() {
        return None;
    }
    let found = whatlang::detect(text)?;
    found.is_reliable().then(|| short_code(found.lang().code()))
}

fn is_latin(letter: char) -> bool {
    letter < '\u{250}'
}

/// At least three such words and one word in ten, or two and one word in five; two of them different, and three times as
/// many as of any other language.
fn by_function_words(text: &str) -> Option<&'static str> {
    let mut counts = [0_usize; FUNCTION_WORDS.len()];
    let mut firsts = [""; FUNCTION_WORDS.len()];
    let mut different = [false; FUNCTION_WORDS.len()];
    let mut words = 0;
    let mut lower = String::new();
    let is_part = |letter: char| {
        letter.is_ascii_alphabetic()
            || letter == '\''
            || !letter.is_ascii() && (letter.is_alphabetic() || letter == '’')
    };
    for word in text.split(|character| !is_part(character)).filter(|word| !word.is_empty()).take(COUNTED_WORDS) {
        words += 1;
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            let letters = word.chars().flat_map(char::to_lowercase);
            lower.extend(letters.map(|letter| if letter == '’' { '\'' } else { letter }));
        }
        let Some((known, Some(language))) = LANGUAGE_OF_WORD.get_key_value(lower.as_str()) else { continue };
        let places = (counts.get_mut(*language), firsts.get_mut(*language), different.get_mut(*language));
        let (Some(count), Some(first), Some(different)) = places else { continue };
        *count += 1;
        match *first {
            "" => *first = known,
            other => *different |= other != *known,
        }
    }
    let (best, &count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let second = counts.iter().enumerate().filter(|(other, _)| *other != best).map(|(_, count)| *count).max()?;
    let clear = count >= 3 * second && (count >= 3 && count * 10 >= words || count == 2 && count * 5 >= words);
    (clear && *different.get(best)?).then(|| FUNCTION_WORDS.get(best).map(|(code, _)| *code)).flatten()
}

/// ISO 639-1 where there is such a code, else ISO 639-3.
fn short_code(code: &'static str) -> &'static str {
    const CODES: &str = "epoeo engen rusru cmnzh spaes porpt itait benbn frafr deude ukruk katka araar hinhi jpnja \
        hebhe yidyi polpl amham javjv korko nobnb danda swesv finfi turtr nldnl hunhu cescs ellel bulbg belbe marmr \
        kankn ronro slvsl hrvhr srpsr mkdmk litlt lavlv estet tamta vievi urdur thath gujgu uzbuz panpa azeaz indid \
        telte pesfa malml orior myamy nepne sinsi khmkm tuktk akaak zulzu snasn afraf latla slksk catca tgltl hyehy \
        cymcy";
    CODES.split_ascii_whitespace().find_map(|pair| pair.strip_prefix(code)).unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told() {
        for (text, code) in [
            ("Wie kann ich den Schlüssel für meine Anwendung wechseln, ohne dass sie ausfällt?", Some("de")),
            ("How can I rotate the key of my application without any downtime for my users?", Some("en")),
            ("如何更换我的应用程序的密钥而不中断服务", Some("zh")),
            ("What is the limit of the key, and how do you change it?", Some("en")),
            ("Je ne trouve pas mes factures dans mon compte, pouvez-vous m'aider avec cette question ?", Some("fr")),
            ("No puedo entrar en mi cuenta, pero cuando cambio la clave tengo los mismos errores", Some("es")),
            ("Não consigo entrar na conta, você pode me ajudar também com a fatura?", Some("pt")),
            ("Non trovo più le fatture, e anche questo messaggio che vedo nella pagina è strano", Some("it")),
            ("Ik kan mijn wachtwoord niet veranderen, hoe moet ik een nieuwe aanvragen?", Some("nl")),
            ("Jak mohu změnit své heslo, když nemám přístup ke své e-mailové adrese?", Some("cs")),
            (
                "Jag kan inte logga in på mitt konto, och jag får inget mejl när jag ber om ett nytt lösenord.",
                Some("sv"),
            ),
            ("비밀번호를 변경하려면 어떻게 해야 하나요?", Some("ko")),
            ("パスワードを変更する方法を教えてください", Some("ja")),
            ("12345", None),
            ("", None),
            ("docker ps", None),
        ] {
            assert_eq!(detect(text), code, "{text}");
        }
    }
}
