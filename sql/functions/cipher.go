package functions

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// ciphers lists AES in the modes GCM, CBC and ECB.
func ciphers() []*Entry {
	const rest = ", string = 'GCM', string = 'DEFAULT'"
	decrypt := vec.Str4(func(*expr.KernelContext) (vec.S4[string, string, string, string], error) {
		return func(dst []byte, in, key, mode, padding string) ([]byte, error) {
			return aesDecrypt(dst, in, key, mode, padding, "")
		}, nil
	})
	return []*Entry{
		fn("aes_encrypt", "Bytes encrypted with AES: with a key of 16, 24 or 32 bytes, in the mode GCM, CBC or ECB, with an initialization vector (derived for each row if empty) and, for GCM, text to be authenticated too.",
			"base64(aes_encrypt('Spark SQL', '1234567890abcdef', 'ECB', 'PKCS'))", "3lmwu+Mw0H3fi5NDvcu9lg==",
			sig("binary, binary"+rest+", binary = NULL, binary = NULL -> binary", expr.Kernel(aesEncryptKernel))).lax().perRow(),
		fn("aes_decrypt", "Bytes that aes_encrypt made, decrypted.", "CAST(aes_decrypt(unhex('83F16B2AA704794132802D248E6BFD4E380078182D1544813898AC97E709B28A94'), '0000111122223333') AS STRING)", "Spark",
			sig("binary, binary"+rest+" -> binary", decrypt), sig("binary, binary, string, string, binary -> binary", expr.Kernel(aesDecryptKernel))),
		fn("try_aes_decrypt", "Like aes_decrypt, but NULL where the bytes cannot be decrypted.", "try_aes_decrypt(X'00', '0000111122223333')", "NULL",
			sig("binary, binary"+rest+" -> binary", tryKernel(decrypt)), sig("binary, binary, string, string, binary -> binary", tryKernel(aesDecryptKernel))),
	}
}

// aesSuite checks a mode, its padding and a key.
func aesSuite(key, mode, padding string) (cipher.Block, string, error) {
	mode, padding = strings.ToUpper(mode), strings.ToUpper(padding)
	ok := map[string]string{"GCM": "NONE", "CBC": "PKCS", "ECB": "PKCS"}[mode]
	if ok == "" || padding != "DEFAULT" && padding != ok {
		return nil, "", batch.UserErrorf("[UNSUPPORTED_FEATURE.AES_MODE] AES with the mode %s and the padding %s is not supported; there are GCM, CBC and ECB", mode, padding)
	}
	b, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, "", batch.UserErrorf("[INVALID_PARAMETER_VALUE.AES_KEY_LENGTH] an AES key has 16, 24 or 32 bytes, not %d", len(key))
	}
	return b, mode, nil
}

// ivSize is the size of the initialization vector that stands before the cipher text.
func ivSize(mode string) int { return map[string]int{"GCM": 12, "CBC": aes.BlockSize}[mode] }

func aesDecrypt(dst []byte, in, key, mode, padding, aad string) ([]byte, error) {
	b, mode, err := aesSuite(key, mode, padding)
	if err != nil {
		return nil, err
	}
	bad := batch.UserErrorf("[INVALID_PARAMETER_VALUE.AES_CRYPTO_ERROR] the bytes cannot be decrypted with this key and mode; use try_aes_decrypt for NULL instead")
	n := ivSize(mode)
	if len(in) < n {
		return nil, bad
	}
	iv, body := []byte(in[:n]), []byte(in[n:])
	if mode == "GCM" {
		g, err := cipher.NewGCM(b)
		if err != nil {
			return nil, err
		}
		if dst, err = g.Open(dst, iv, body, []byte(aad)); err != nil {
			return nil, bad
		}
		return dst, nil
	}
	if len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return nil, bad
	}
	if mode == "CBC" {
		cipher.NewCBCDecrypter(b, iv).CryptBlocks(body, body)
	} else {
		for i := 0; i < len(body); i += aes.BlockSize {
			b.Decrypt(body[i:], body[i:])
		}
	}
	pad := int(body[len(body)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, bad
	}
	for _, c := range body[len(body)-pad:] {
		if int(c) != pad {
			return nil, bad
		}
	}
	return append(dst, body[:len(body)-pad]...), nil
}

func aesEncrypt(dst []byte, in, key, mode, padding string, iv, aad []byte) ([]byte, error) {
	b, mode, err := aesSuite(key, mode, padding)
	if err != nil {
		return nil, err
	}
	if len(iv) != ivSize(mode) {
		return nil, batch.UserErrorf("[INVALID_PARAMETER_VALUE.AES_IV_LENGTH] an initialization vector for %s has %d bytes, not %d", mode, ivSize(mode), len(iv))
	}
	dst = append(dst, iv...)
	if mode == "GCM" {
		g, err := cipher.NewGCM(b)
		if err != nil {
			return nil, err
		}
		return g.Seal(dst, iv, []byte(in), aad), nil
	}
	body := []byte(in)
	pad := aes.BlockSize - len(body)%aes.BlockSize
	for range pad {
		body = append(body, byte(pad))
	}
	if mode == "CBC" {
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(body, body)
	} else {
		for i := 0; i < len(body); i += aes.BlockSize {
			b.Encrypt(body[i:], body[i:])
		}
	}
	return append(dst, body...), nil
}

func aesEncryptKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args[:4], n)
	o := vec.NewStrOut(kc.Alloc, n)
	at := func(k, i int) []byte {
		if r := row(args[k], i); !vec.IsNull(args[k].Arr, r) {
			return vec.StringsOf(args[k].Arr).At(r)
		}
		return nil
	}
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		mode := string(at(2, i))
		iv := at(4, i)
		if len(iv) == 0 {
			iv = drawnIV(kc, i, ivSize(strings.ToUpper(mode)), at(1, i), at(0, i))
		}
		b, err := aesEncrypt(o.Begin(), string(at(0, i)), string(at(1, i)), mode, string(at(3, i)), iv, at(5, i))
		if err != nil {
			o.Release()
			m.Release()
			return nil, err
		}
		o.End(b)
	}
	return o.Array(kc.Result, m)
}

// drawnIV derives an initialization vector from the batch's seed and time, the
// row, the key and the text, so that a batch that runs again encrypts alike and
// no two texts share a vector.
func drawnIV(kc *expr.KernelContext, i, size int, key, text []byte) []byte {
	var in [24]byte
	binary.BigEndian.PutUint64(in[:], kc.Seed)
	binary.BigEndian.PutUint64(in[8:], uint64(kc.RowBase)+uint64(i))
	binary.BigEndian.PutUint64(in[16:], uint64(kc.Now))
	m := hmac.New(sha256.New, key)
	m.Write(in[:])
	m.Write(text)
	return m.Sum(nil)[:size]
}

func aesDecryptKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	o := vec.NewStrOut(kc.Alloc, n)
	at := func(k, i int) string { return vec.StringsOf(args[k].Arr).Str(row(args[k], i)) }
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		b, err := aesDecrypt(o.Begin(), at(0, i), at(1, i), at(2, i), at(3, i), at(4, i))
		if err != nil {
			o.Release()
			m.Release()
			return nil, err
		}
		o.End(b)
	}
	return o.Array(kc.Result, m)
}
