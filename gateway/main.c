#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/gateway.h"

#include "version.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum mode { MODE_RUN, MODE_TEST, MODE_DUMP };

struct options {
	const char *conf;
	enum mode mode;
	bool daemonise;
	int verbosity;
};

enum { OPT_SAMPLE = 256, OPT_MANUAL };

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "test-config", no_argument, NULL, 't' },
	{ "print-config", no_argument, NULL, 'T' },
	{ "daemon", no_argument, NULL, 'd' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ "sample-config", no_argument, NULL, OPT_SAMPLE },
	{ "manual", no_argument, NULL, OPT_MANUAL },
	{ NULL, 0, NULL, 0 },
};

static void usage(FILE *out)
{
	fputs("usage: tidegate [-c FILE] [-t | -T] [-d] [-v | -q]\n"
	      "  -c, --config FILE    configuration (default " DEFAULT_CONF ")\n"
	      "  -t, --test-config    check the configuration and exit\n"
	      "  -T, --print-config   check it, print the effective values and exit\n"
	      "  -d, --daemon         go into the background once everything has started\n"
	      "  -v, --verbose        one log level more (repeatable)\n"
	      "  -q, --quiet          one log level less (repeatable)\n"
	      "  -V, --version        print the version and exit\n"
	      "      --sample-config  print a commented sample configuration and exit\n"
	      "      --manual         print the configuration's manual page (roff) and exit\n"
	      "  -h, --help           this text\n",
		out);
}

static void print_manual(void)
{
	fputs(".TH TIDEGATE.CONF 5 \"\" \"Tidegate\" \"File Formats\"\n"
	      ".SH NAME\ntidegate.conf \\- configuration of tidegate\n"
	      ".SH DESCRIPTION\n"
	      "Sections in brackets with lines of the form\n.IR key \" = \" value .\n"
	      "A line that starts with white space goes on with the value above. A ; or # begins a "
	      "comment at the start of a line or after white space, unless the value is quoted.\n"
	      "Sizes and times carry a unit (64KB, 10s). Secrets are in files of their own.\n"
	      ".SH SECTIONS\n",
		stdout);
	conf_manual(gateway_sections, stdout);
	fputs(".SH FILES\n.I " DEFAULT_CONF "\n.SH SEE ALSO\n.BR tidegate (8)\n", stdout);
}

static void print_version(void)
{
	printf("tidegate %s\n", TIDEGATE_VERSION);
	printf("libevent %s, %s\n", event_get_version(), OpenSSL_version(OPENSSL_VERSION));
#ifdef HAVE_SYSTEMD
	puts("built with: systemd notification");
#else
	puts("built without: systemd notification");
#endif
}

/* Exits for what needs no configuration. */
static void parse_options(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt_long(argc, argv, "c:f:tTdvqVh", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
		case 'f':
			o->conf = optarg;
			break;
		case 't':
			o->mode = MODE_TEST;
			break;
		case 'T':
			o->mode = MODE_DUMP;
			break;
		case 'd':
			o->daemonise = true;
			break;
		case 'v':
			o->verbosity++;
			break;
		case 'q':
			o->verbosity--;
			break;
		case 'V':
			print_version();
			exit(EXIT_SUCCESS);
		case 'h':
			usage(stdout);
			exit(EXIT_SUCCESS);
		case OPT_SAMPLE:
			conf_sample(gateway_sections, stdout);
			exit(EXIT_SUCCESS);
		case OPT_MANUAL:
			print_manual();
			exit(EXIT_SUCCESS);
		default:
			usage(stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "tidegate: unexpected argument \"%s\"\n", argv[optind]);
		usage(stderr);
		exit(EXIT_USAGE);
	}
}

/* The parent waits for one octet, the exit status of the start, so that a failed start is seen by
 * whoever called. Returns the descriptor on which the child reports. */
static int go_to_background(void)
{
	int report[2];
	if (pipe2(report, O_CLOEXEC) == -1) {
		fprintf(stderr, "tidegate: pipe: %s\n", strerror(errno));
		exit(EXIT_RUNTIME);
	}
	pid_t pid = fork();
	if (pid == -1) {
		fprintf(stderr, "tidegate: fork: %s\n", strerror(errno));
		exit(EXIT_RUNTIME);
	}
	if (pid > 0) {
		unsigned char status = EXIT_RUNTIME;
		close(report[1]);
		if (read(report[0], &status, 1) != 1)
			status = EXIT_RUNTIME;
		_exit(status);
	}
	close(report[0]);
	setsid();
	return report[1];
}

/* Standard error stays open where it was redirected: it is the log. */
static void detach_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null == -1)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (isatty(STDERR_FILENO))
		dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
	if (chdir("/") == -1)
		log_warn("gateway: cannot change to /: %s", strerror(errno));
}

static void report_start(int fd, int status)
{
	unsigned char octet = (unsigned char)status;
	if (fd == -1)
		return;
	if (write(fd, &octet, 1) != 1)
		log_warn("gateway: nobody waits for the start any more");
	close(fd);
	if (status == EXIT_SUCCESS)
		detach_terminal();
}

static char *absolute_path(const char *path)
{
	char *real = realpath(path, NULL);
	return real ? real : must_strdup(path);
}

/* Standard error leads to the journal: the variable alone is inherited by what redirects it
 * elsewhere (systemd.exec(5)). */
static bool logs_to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int run(const struct options *o, struct conf *conf)
{
	struct gateway *g;
	char *path = absolute_path(o->conf);
	int report = o->daemonise ? go_to_background() : -1;
	int status = gateway_new(conf, path, &g);

	report_start(report, status);
	if (status == EXIT_SUCCESS) {
		status = gateway_run(g);
		gateway_free(g);
	} else {
		conf_free(conf);
	}
	free(path);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = { .conf = DEFAULT_CONF };
	struct conf_error err;
	struct conf *conf;

	umask(077);
	signal(SIGPIPE, SIG_IGN);
	parse_options(argc, argv, &o);
	log_init(LOG_LEVEL_INFO, logs_to_journal());
	gateway_set_verbosity(o.verbosity);
	clock_tick();

	if (conf_load(gateway_sections, o.conf, &conf, &err) != 0) {
		log_error("%s", err.text);
		return EXIT_CONFIG;
	}
	gateway_apply_log_level(conf);
	if (o.mode == MODE_RUN)
		return run(&o, conf);

	if (o.mode == MODE_DUMP)
		conf_dump(conf, stdout);
	else
		printf("%s: ok\n", o.conf);
	conf_free(conf);
	return EXIT_SUCCESS;
}
