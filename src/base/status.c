/*-------------------------------------------------------------------------
 *
 * status.c
 *	  Names of the status codes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "base/status.h"

const char *
pge_status_name(PgeStatus status)
{
	switch (status)
	{
		case PGE_OK:
			return "ok";
		case PGE_NOT_AUTHENTIC:
			return "not authentic";
		case PGE_MALFORMED:
			return "malformed";
		case PGE_UNKNOWN_DEK:
			return "unknown data key";
		case PGE_KEY_DISABLED:
			return "key disabled";
		case PGE_KEY_DESTROYED:
			return "key destroyed";
		case PGE_COMPROMISED:
			return "key version compromised";
		case PGE_AGENT_UNREACHABLE:
			return "agent not reachable";
		case PGE_UNAVAILABLE:
			return "service unavailable";
		case PGE_THROTTLED:
			return "throttled";
		case PGE_UNAUTHENTICATED:
			return "credentials refused";
		case PGE_KEK_UNUSABLE:
			return "KEK unusable";
		case PGE_KEK_NOT_FOUND:
			return "KEK not found";
		case PGE_WRAPPING_DAMAGED:
			return "wrapping damaged";
		case PGE_DENIED:
			return "denied";
		case PGE_USED_UP:
			return "quota used up";
		case PGE_INVALID:
			return "invalid";
		case PGE_TOO_LARGE:
			return "too large";
		case PGE_OUT_OF_MEMORY:
			return "out of memory";
		case PGE_IO_ERROR:
			return "input/output error";
		case PGE_CRYPTO_FAILED:
			return "cryptography failed";
		case PGE_NOT_PRELOADED:
			return "not preloaded";
		case PGE_BUSY:
			return "busy";
	}
	return "unknown status";
}
