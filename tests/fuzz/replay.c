/* Runs a fuzz target over the files named, or all files of the directories named: the seeds as an
 * ordinary test, for builds without libFuzzer. Fails when there is none, or when one cannot be
 * read. */
#include "gateway/base/file.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEED_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int run_file(const char *path)
{
	char *text;
	size_t len;
	int rc = file_read(path, SEED_MAX, &text, &len);
	if (rc < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-rc));
		exit(1);
	}
	/* A copy of the exact size: the sanitizer sees a read past the end. */
	uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		exit(1);
	memcpy(exact, text, len);
	free(text);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return 1;
}

static int run_dir(const char *path)
{
	struct dirent **names;
	int found = 0;
	int n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char file[4096];
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			found += run_file(file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return found;
}

int main(int argc, char **argv)
{
	int found = 0;
	for (int i = 1; i < argc; i++) {
		struct stat st;
		bool is_dir = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
		found += is_dir ? run_dir(argv[i]) : run_file(argv[i]);
	}
	printf("%d inputs\n", found);
	return found ? 0 : 1;
}
