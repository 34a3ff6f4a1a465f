/*
 * otp_code: one-time codes, six digits.
 *
 * A code has too few values for a hash to hide it, so what is stored is its HMAC by the token secret, bound to the request's
 * id: who reads the database learns no code.  Guessing at the door is bounded by attempts, expiry and limits; see
 * schema/functions/76_otp.sql.
 */
#ifndef SERVER_OTP_CODE_H
#define SERVER_OTP_CODE_H

struct request;

#define OTP_CODE_SIZE 7 /* six digits and a NUL */

/* Each of the million codes is as likely as any other. */
void otp_code_new(char code[OTP_CODE_SIZE]);

/* In the request's arena: the hash that is stored. */
const char *otp_code_hash(struct request *, const char *otp_request_id, const char *code);
/* An array for SQL: by the current secret, and by the one before, if there is one. */
const char *otp_code_hashes(struct request *, const char *otp_request_id, const char *code);

#endif
