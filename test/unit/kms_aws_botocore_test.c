/*-------------------------------------------------------------------------
 *
 * kms_aws_botocore_test.c
 *	  Two hundred requests are signed as botocore's own signer would have.
 *
 * test/tools/aws_signature.py recomputes each signature from the headers as they would be
 * received, and refuses one over other headers than AWS wants.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/kms/kms_aws_sign.h"
#include "check.h"

#define REQUESTS	200
#define BODY_MAX	5000

static const char *const hosts[] = {
	"kms.eu-west-1.amazonaws.com", "kms-fips.us-gov-west-1.api.aws", "127.0.0.1:5000", "[::1]:8443", "kms.cn-north-1.amazonaws.com.cn", "a:1",
	"vpce-0123456789abcdef0-01234567.kms.eu-west-1.vpce.amazonaws.com", "sts.eu-west-1.amazonaws.com:8443",
};
static const char *const regions[] = {"eu-west-1", "us-gov-west-1", "us-east-1", "cn-north-1", "eusc-de-east-1"};
static const char *const types[] = {"application/x-amz-json-1.1", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"};
static const char *const targets[] = {"TrentService.Encrypt", "TrentService.ListKeyRotations", NULL};
static const char *const secrets[] = {"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "s", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"};
static char long_token[AWS_SESSION_TOKEN_MAX + 1];
static const char *const tokens[] = {"", "IQoJb3JpZ2luX2VjEAEaDGV1LWNlbnRyYWwtMSJGMEQCIF/+==", "t", long_token};
static const int64_t times[] = {0, 1440938160, 951782399, 1795357860, INT64_C(253402300799)};

static void
write_json_text(FILE *to, const char *text, size_t len)
{
	fputc('"', to);
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] == '"' || text[i] == '\\')
			fputc('\\', to);
		fputc(text[i], to);
	}
	fputc('"', to);
}

static void
write_header(FILE *to, const char *name, const char *value, size_t len)
{
	fprintf(to, "%s[\"%s\", ", strcmp(name, "Host") == 0 ? "" : ", ", name);
	write_json_text(to, value, len);
	fputc(']', to);
}

/* Of all lengths, and of all bytes. */
static PgeBytes
body_of(int number, uint8_t room[BODY_MAX])
{
	size_t		len = number % 7 == 0 ? 0 : (size_t) (number * 37) % BODY_MAX;

	for (size_t i = 0; i < len; i++)
		room[i] = (uint8_t) (i * 131 + (size_t) number);
	return pge_bytes(room, len);
}

/* One line for the other side, in the headers' order of another program; "spoilt": with another body. */
static bool
write_request(FILE *to, int number, bool spoilt)
{
	uint8_t		room[BODY_MAX];
	const char *secret = secrets[number % 3];
	const char *token = tokens[number % 4];
	AwsKeys		keys = {text_bytes("AKIA_example0"), text_bytes(secret), text_bytes(token)};
	AwsSignRequest request = {
		.host = hosts[number % 8], .region = regions[number % 5], .service = targets[number % 3] != NULL ? "kms" : "sts",
		.content_type = types[number / 3 % 3], .target = targets[number % 3], .body = body_of(number, room),
	};
	AwsSignature signature;

	if (pge_aws_sign(&request, &keys, times[number / 2 % 5], &signature) != PGE_OK)
		return false;
	fprintf(to, "{\"url\": \"https://%s/\", \"headers\": [", request.host);
	write_header(to, "Host", request.host, strlen(request.host));
	write_header(to, "User-Agent", "pg_envelope", 11);
	write_header(to, "X-Amz-Date", signature.date, strlen(signature.date));
	write_header(to, "Authorization", signature.authorization, strlen(signature.authorization));
	if (token[0] != '\0')
		write_header(to, "X-Amz-Security-Token", token, strlen(token));
	if (request.target != NULL)
		write_header(to, "x-amz-target", request.target, strlen(request.target));
	write_header(to, "content-type", request.content_type, strlen(request.content_type));
	fprintf(to, "], \"secret\": ");
	write_json_text(to, secret, strlen(secret));
	fprintf(to, ", \"body\": \"%s", spoilt ? "00" : "");
	for (size_t i = 0; i < request.body.len; i++)
		fprintf(to, "%02x", request.body.data[i]);
	return fprintf(to, "\"}\n") > 0;
}

/* "argument" may be NULL. */
static pid_t
start_program(const char *path, const char *argument, FILE **to, FILE **from)
{
	int			in[2];
	int			out[2];
	pid_t		pid;

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		abort();
	pid = fork();
	if (pid == 0)
	{
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(path, path, argument, (char *) NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	*to = fdopen(in[1], "w");
	*from = fdopen(out[0], "r");
	if (pid < 0 || *to == NULL || *from == NULL)
		abort();
	return pid;
}

static bool
ends_well(pid_t pid, FILE *to, FILE *from)
{
	int			status = -1;

	fclose(to);
	fclose(from);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* The path of its "python"; false: it cannot be had. */
static bool
find_python(char path[1024])
{
	FILE	   *to;
	FILE	   *from;
	pid_t		pid = start_program(TOOLS "/moto.sh", NULL, &to, &from);
	bool		found = fgets(path, 1024, from) != NULL;

	path[found ? strcspn(path, "\n") : 0] = '\0';
	return ends_well(pid, to, from) && found;
}

int
main(void)
{
	char		path[1024];
	char		line[256];
	FILE	   *to;
	FILE	   *from;
	pid_t		pid;

	if (!find_python(path))
	{
		printf("SKIP: kms_aws_botocore_test needs botocore (test/tools/moto.sh)\n");
		return 77;
	}
	memset(long_token, '=', sizeof(long_token) - 1);
	pid = start_program(path, TOOLS "/aws_signature.py", &to, &from);
	/* one after the other, so that neither waits for the other's pipe */
	for (int i = 0; i <= REQUESTS; i++)
	{
		bool		spoilt = i == REQUESTS;

		line[0] = '\0';
		if (!check(write_request(to, i, spoilt) && fflush(to) == 0 && fgets(line, sizeof(line), from) != NULL &&
				   strcmp(line, spoilt ? "another signature\n" : "ok\n") == 0, spoilt ? "(another body is noticed)" : "request %d is signed as botocore does", i))
			printf("#   %s", line);
	}
	check(ends_well(pid, to, from), "all was read");
	return check_done();
}
