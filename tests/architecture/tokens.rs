//! What does a source file say, once comments and literals are gone?

/// A word (identifier, keyword, number) or one character of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Mark(char),
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        match self {
            Token::Word(word) => word == text,
            Token::Mark(mark) => text.chars().eq([*mark]),
        }
    }

    pub fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            Token::Mark(_) => None,
        }
    }
}

/// The tokens of a Rust source text. Comments, strings and characters are left out; lifetimes become words.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (here, next) = (chars[at], chars.get(at + 1).copied());
        at = match (here, next) {
            ('/', Some('/')) => line_end(&chars, at),
            ('/', Some('*')) => comment_end(&chars, at),
            ('"', _) => string_end(&chars, at + 1),
            ('\'', _) => match char_end(&chars, at) {
                Some(end) => end,
                None => at + 1, // a lifetime: its name follows as a word
            },
            (c, _) if c.is_alphanumeric() || c == '_' => {
                let end = word_end(&chars, at);
                let word: String = chars[at..end].iter().collect();
                match raw_string_end(&chars, &word, end) {
                    Some(end) => end,
                    None if word == "r" && chars.get(end) == Some(&'#') => end + 1, // r#word
                    None => {
                        found.push(Token::Word(word));
                        end
                    }
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push(Token::Mark(c));
                }
                at + 1
            }
        };
    }
    found
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| at + n)
}

fn word_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| !c.is_alphanumeric() && *c != '_').map_or(chars.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// After a prefix like `r`, `br` or `cr`: a string that ends with a quote and as many `#` as it began with.
fn raw_string_end(chars: &[char], prefix: &str, at: usize) -> Option<usize> {
    if !matches!(prefix, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let body = at + hashes + 1;
    let ends = |quote: &usize| {
        chars[*quote] == '"' && chars[quote + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((body..chars.len()).find(ends).map_or(chars.len(), |quote| quote + 1 + hashes))
}

/// The end of a character literal, or `None` if the quote begins a lifetime.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        let quote = chars[at + 3..].iter().position(|&c| c == '\'')?;
        return Some(at + 3 + quote + 1);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 3)
}
