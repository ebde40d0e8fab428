/*
 * Runs a CNI plugin once per container and measures each process from before its start to after its end. The same
 * spawner for every plugin, so that what it costs itself is the same for all.
 *
 *   cnirun one|all VERB PLUGIN CONFIG OUTDIR ID...
 *
 * one: one after another; all: all at once. Container ID and the name under /run/netns are ID, the interface is eth0,
 * stdin is CONFIG, stdout and stderr go to OUTDIR/ID. Everything else of the environment is inherited.
 * Prints `ID MILLISECONDS EXITCODE` per process, and last `total MILLISECONDS CPU_MILLISECONDS`, the plugins' own CPU time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct job {
  const char *id;
  pid_t pid;
  double start, end;
  int status;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void die(const char *what) {
  perror(what);
  exit(2);
}

static char *text(const char *format, const char *value) {
  char *out;
  if (asprintf(&out, format, value) < 0) die("asprintf");
  return out;
}

static void start(struct job *job, const char *verb, char *plugin, const char *config, const char *outdir) {
  char *dir = strdup(plugin), *out;
  *strrchr(dir, '/') = 0;
  if (asprintf(&out, "%s/%s", outdir, job->id) < 0) die("asprintf");
  char *own[] = {text("CNI_COMMAND=%s", verb),
                 text("CNI_CONTAINERID=%s", job->id),
                 text("CNI_NETNS=/run/netns/%s", job->id),
                 "CNI_IFNAME=eth0",
                 text("CNI_PATH=%s", dir),
                 text("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=%s", job->id)};
  size_t n = 0, mine = sizeof own / sizeof *own;
  while (environ[n]) n++;
  char **env = calloc(n + mine + 1, sizeof *env);
  memcpy(env, own, sizeof own);
  memcpy(env + mine, environ, n * sizeof *env);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, config, O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  char *argv[] = {plugin, NULL};
  job->start = now();
  if (posix_spawn(&job->pid, plugin, &files, NULL, argv, env)) die(plugin);
}

static void reap(struct job *jobs, int count) {
  int status;
  pid_t pid = wait(&status);
  double end = now();
  for (int i = 0; i < count; i++)
    if (jobs[i].pid == pid) {
      jobs[i].end = end;
      jobs[i].status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

int main(int argc, char **argv) {
  if (argc < 7) return fprintf(stderr, "usage: cnirun one|all VERB PLUGIN CONFIG OUTDIR ID...\n"), 2;
  int count = argc - 6, all = !strcmp(argv[1], "all");
  struct job *jobs = calloc(count, sizeof *jobs);
  double begin = now();
  for (int i = 0; i < count; i++) {
    jobs[i].id = argv[6 + i];
    start(&jobs[i], argv[2], argv[3], argv[4], argv[5]);
    if (!all) reap(jobs, count);
  }
  for (int i = 0; all && i < count; i++) reap(jobs, count);
  double total = now() - begin;
  for (int i = 0; i < count; i++) printf("%s %.3f %d\n", jobs[i].id, jobs[i].end - jobs[i].start, jobs[i].status);
  struct rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  double cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
  printf("total %.3f %.3f\n", total, cpu);
  return 0;
}
