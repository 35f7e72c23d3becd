package wql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	end    kind = iota
	name        // also a keyword
	text        // a quoted one, without its quotes
	number      // digits, and a fraction after a point
	symbol
)

// token is a piece of a query.
type token struct {
	kind kind
	text string
	pos  int
}

// describe names a token in an error.
func (t token) describe() string {
	switch t.kind {
	case end:
		return "the end"
	case text:
		return fmt.Sprintf("the text %q", shorten(t.text))
	}
	return fmt.Sprintf("%q", shorten(t.text))
}

// next moves to the next token. After an error all tokens are the end.
func (p *parser) next() {
	p.space()
	p.tok = token{pos: p.off}
	if p.err != nil || p.off == len(p.text) {
		return
	}
	c, n := utf8.DecodeRuneInString(p.text[p.off:])
	switch {
	case nameByte(p.text[p.off], true):
		p.take(name, p.off+1, func(c byte) bool { return nameByte(c, false) })
		if len(p.tok.text) > MaxName {
			p.fail(p.tok.pos, "a name of %d bytes: at most %d are taken", len(p.tok.text), MaxName)
		}
	case '0' <= c && c <= '9':
		p.number()
	case closers(c) != "":
		p.quoted(c, n)
	default:
		p.symbol(c, n)
	}
}

func (p *parser) space() {
	for p.off < len(p.text) {
		c, n := utf8.DecodeRuneInString(p.text[p.off:])
		// What web pages and word processors put between words is space as well.
		if !unicode.IsSpace(c) && c != '\u200b' && c != '\ufeff' {
			return
		}
		p.off += n
	}
}

// take makes a token of the bytes from p.off up to the first from on that is not
// wanted.
func (p *parser) take(k kind, from int, want func(byte) bool) {
	for from < len(p.text) && want(p.text[from]) {
		from++
	}
	p.tok.kind, p.tok.text = k, p.text[p.off:from]
	p.off = from
}

func nameByte(c byte, first bool) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || !first && '0' <= c && c <= '9'
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) number() {
	from := p.off
	for from < len(p.text) && digit(p.text[from]) {
		from++
	}
	if from+1 < len(p.text) && p.text[from] == '.' && digit(p.text[from+1]) {
		from++
	}
	p.take(number, from, digit)
	if p.off < len(p.text) && (p.text[p.off] == '.' || nameByte(p.text[p.off], false)) {
		p.fail(p.tok.pos, "%s… is not a number: put a text in quotes", shorten(p.tok.text))
	}
}

// The quotes that begin a text, and what ends one: a typographic one is ended by any
// of its family, a plain one by itself.
const (
	doubles = "“”„‟\""
	singles = "‘’‚‛'"
)

func closers(open rune) string {
	switch {
	case open == '"' || open == '\'':
		return string(open)
	case strings.ContainsRune(doubles, open):
		return doubles
	case strings.ContainsRune(singles, open):
		return singles
	}
	return ""
}

// quoted reads a text. In it \\, \" and \' stand for what follows the backslash, any
// other backslash for itself; a plain quote that is doubled is one quote.
func (p *parser) quoted(open rune, n int) {
	ends := closers(open)
	start := p.off + n
	var b *strings.Builder // only if the text is not as it is written
	from := start
	for i := start; i < len(p.text); {
		c, n := utf8.DecodeRuneInString(p.text[i:])
		next := i + n
		switch {
		case c == '\\' && next < len(p.text) && strings.IndexByte(`\"'`, p.text[next]) >= 0:
			b = appendPart(b, p.text[from:i])
			from, i = next, next+1
		case !strings.ContainsRune(ends, c):
			i = next
		case c == open && len(ends) == 1 && next < len(p.text) && rune(p.text[next]) == c:
			b = appendPart(b, p.text[from:i])
			from, i = next, next+1
		default:
			p.tok.kind, p.tok.text, p.off = text, p.text[from:i], next
			if b != nil {
				b.WriteString(p.text[from:i])
				p.tok.text = b.String()
			}
			return
		}
	}
	p.fail(p.tok.pos, "the text that begins here has no closing quote (a backslash before a quote makes it part of the text)")
}

func appendPart(b *strings.Builder, part string) *strings.Builder {
	if b == nil {
		b = new(strings.Builder)
	}
	b.WriteString(part)
	return b
}

func (p *parser) symbol(c rune, n int) {
	p.tok.kind = symbol
	if p.off+1 < len(p.text) {
		switch two := p.text[p.off : p.off+2]; two {
		case "!=", "<>", "<=", ">=":
			p.tok.text = two
			p.off += 2
			return
		}
	}
	if !strings.ContainsRune("=<>(),.*-+", c) {
		p.fail(p.tok.pos, "%q has no meaning here", c)
		return
	}
	p.tok.text = p.text[p.off : p.off+n]
	p.off += n
}

// is tells whether the token is a symbol.
func (p *parser) is(s string) bool { return p.tok.kind == symbol && p.tok.text == s }

// keyword tells whether the token is a word, in any case. A name with a point behind
// it is that of a class, whatever it is called.
func (p *parser) keyword(word string) bool {
	return p.tok.kind == name && strings.EqualFold(p.tok.text, word) && (p.off == len(p.text) || p.text[p.off] != '.')
}

// accept moves past a word or a symbol if it is the token.
func (p *parser) accept(s string) bool {
	if !p.is(s) && !p.keyword(s) {
		return false
	}
	p.next()
	return true
}

// expect moves past a word or a symbol, which must be the token.
func (p *parser) expect(s string) {
	if !p.accept(s) {
		p.unexpected(fmt.Sprintf("%q", s))
	}
}

func (p *parser) unexpected(want string) {
	p.fail(p.tok.pos, "expected %s, found %s", want, p.tok.describe())
}

// fail keeps the first error and ends all tokens.
func (p *parser) fail(pos int, format string, args ...any) {
	if p.err == nil {
		p.err = place(p.text, Pos(pos), fmt.Sprintf(format, args...))
	}
	p.tok = token{pos: len(p.text)}
	p.off = len(p.text)
}

// maxShown is how many bytes of a query an error repeats.
const maxShown = 64

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
