#include "runner/build.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/child.h"

#define SCRIPT_S 30 // to say what it is; an interpreter starts within one second

/* Answers already given, by question: programs and data do not change during a run. */
struct answer {
    char *question, *text;
    struct answer *next;
};

static struct answer *answers;
static struct text unanswered;

static const char *remembered(const char *kind, const char *question) {
    for (struct answer *a = answers; a; a = a->next) {
        size_t n = strlen(kind);
        if (!strncmp(a->question, kind, n) && !strcmp(a->question + n, question)) {
            return a->text;
        }
    }
    return NULL;
}

static void remember(const char *kind, const char *question, const char *text) {
    struct answer *a = text_allocate(sizeof *a);
    struct text q = {0};
    text_addf(&q, "%s%s", kind, question);
    *a = (struct answer){
            .question = text_take(&q), .text = text_copy(text), .next = answers};
    answers = a;
}

static void to_hex(const unsigned char *bytes, unsigned size, char *out) {
    for (unsigned i = 0; i < size; i++) {
        snprintf(out + (size_t)2 * i, 3, "%02x", bytes[i]);
    }
}

static bool feed_file(EVP_MD_CTX *ctx, const char *path, struct text *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0) {
        return text_fail(err, "cannot open '%s': %s", path, strerror(errno));
    }
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return text_fail(err, "cannot read '%s': not a regular file", path);
    }
    char bytes[65536];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        EVP_DigestUpdate(ctx, bytes, (size_t)n);
    }
    int error = errno;
    close(fd);
    return n == 0 || text_fail(err, "cannot read '%s': %s", path, strerror(error));
}

static void finish_digest(EVP_MD_CTX *ctx, char out[65]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(ctx, digest, &size);
    to_hex(digest, 32, out);
}

bool build_digest_file(const char *path, char out[65], struct text *err) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    bool ok = feed_file(ctx, path, err);
    if (ok) {
        finish_digest(ctx, out);
    }
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* The GNU build-id among the notes at [offset, offset+size) of `fd`. */
static bool find_note(int fd, off_t offset, size_t size, struct text *out) {
    unsigned char bytes[4096];
    ssize_t n = pread(fd, bytes, size < sizeof bytes ? size : sizeof bytes, offset);
    size_t at = 0;
    while (n > 0 && at + sizeof(Elf64_Nhdr) <= (size_t)n) {
        Elf64_Nhdr note;
        memcpy(&note, bytes + at, sizeof note);
        at += sizeof note;
        size_t name = (note.n_namesz + 3U) & ~3U, desc = (note.n_descsz + 3U) & ~3U;
        if (name > (size_t)n - at || desc > (size_t)n - at - name) {
            return false;
        }
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                !memcmp(bytes + at, "GNU", 4) && note.n_descsz <= 64) {
            char hex[129];
            to_hex(bytes + at + name, note.n_descsz, hex);
            text_add(out, hex);
            return true;
        }
        at += name + desc;
    }
    return false;
}

static bool elf_build_id(const char *path, struct text *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool found = false;
    Elf64_Ehdr head;
    if (fd < 0) {
        return false;
    }
    if (pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head &&
            !memcmp(head.e_ident, ELFMAG, SELFMAG) &&
            head.e_ident[EI_CLASS] == ELFCLASS64 &&
            head.e_phentsize == sizeof(Elf64_Phdr)) {
        for (int i = 0; i < head.e_phnum && !found; i++) {
            Elf64_Phdr p;
            off_t at = (off_t)(head.e_phoff + (Elf64_Off)i * sizeof p);
            if (pread(fd, &p, sizeof p, at) != (ssize_t)sizeof p) {
                break;
            }
            found = p.p_type == PT_NOTE &&
                    find_note(fd, (off_t)p.p_offset, p.p_filesz, out);
        }
    }
    close(fd);
    return found;
}

static bool find_program(const char *name, struct text *out) {
    if (strchr(name, '/')) {
        text_add(out, name);
        return access(name, X_OK) == 0;
    }
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        text_clear(out);
        text_addf(out, "%.*s/%s", (int)n, path, name);
        if (access(text_get(out), X_OK) == 0) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}

static bool is_script(const char *word) {
    size_t n = word ? strlen(word) : 0;
    return n > 3 && !strcmp(word + n - 3, ".py");
}

const char *build_unanswered(void) {
    return text_get(&unanswered);
}

static void complain(char *const *argv) {
    const char *named = getenv("LM_PYTHON");
    if (unanswered.size == 0) {
        text_addf(&unanswered,
                "%sfound that '%s %s --build' did not answer within %d s, expected an "
                "interpreter that starts",
                named && !strcmp(named, argv[0]) ? "LM_PYTHON: " : "", argv[0], argv[1],
                SCRIPT_S);
    }
}

/* Wait for a script that says what it is, but not for ever. */
static void await_script(struct child *c, char *const *argv, struct child_end *end) {
    struct pollfd ended = {.fd = c->pidfd, .events = POLLIN};
    if (poll(&ended, 1, SCRIPT_S * 1000) == 0) {
        complain(argv);
    }
    // A wrapper may have started others, which would stay behind.
    child_kill_group(c);
    child_reap(c, end);
}

/* The line that `interpreter script --build` prints; false where it prints none. */
static bool ask_script(char *const *argv, struct text *out) {
    char *question[] = {argv[0], argv[1], "--build", NULL};
    // A pipe rather than a file: who prints without end gets no further than its size.
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) {
        return false;
    }
    // Somebody may hold the other end for longer than the script lives.
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    struct child_spec spec = {.argv = question,
            .envp = environ,
            .stdin_fd = -1,
            .stdout_fd = ends[1],
            .stderr_fd = -1,
            .cgroup_fd = -1};
    struct child c;
    struct child_end end = {.exit_code = -1};
    struct text ignored = {0};
    if (child_start(&c, &spec, &ignored)) {
        await_script(&c, argv, &end);
    }
    char line[256];
    ssize_t n = end.exit_code == 0 ? read(ends[0], line, sizeof line - 1) : 0;
    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    text_add(out, line);
    text_finish(&ignored);
    close(ends[0]);
    close(ends[1]);
    return *line != '\0';
}

/* Of a script: what it says, else its digest. Of a program: its note, else its digest.
 */
static bool identify(
        char *const *argv, const char *path, struct text *out, struct text *err) {
    bool script = is_script(argv[1]);
    if (script ? ask_script(argv, out) : elf_build_id(path, out)) {
        return true;
    }
    char digest[65];
    if (!build_digest_file(script ? argv[1] : path, digest, err)) {
        return false;
    }
    text_addf(out, "sha256:%s", digest);
    return true;
}

bool build_identify(char *const *argv, struct text *out, struct text *err) {
    struct text path = {0}, id = {0}, question = {0};
    text_addf(&question, "%s %s", argv[0], is_script(argv[1]) ? argv[1] : "");
    const char *known = remembered("build:", text_get(&question));
    bool ok = true;
    if (known) {
        text_add(out, known);
    } else if (!find_program(argv[0], &path)) {
        ok = text_fail(err, "there is no worker '%s'", argv[0]);
    } else if (identify(argv, text_get(&path), &id, err)) {
        remember("build:", text_get(&question), text_get(&id));
        text_add(out, text_get(&id));
    } else {
        ok = false;
    }
    text_finish(&question);
    text_finish(&path);
    text_finish(&id);
    return ok;
}

/* One word of `data`: a file, a folder's regular files, or a glob. */
static bool feed_word(EVP_MD_CTX *ctx, const char *word, struct text *err) {
    struct text pattern = {0};
    const char *base = getenv("LM_DATA");
    if (base && *base && *word != '/') {
        text_addf(&pattern, "%s/", base);
    }
    text_add(&pattern, word);
    struct stat st;
    if (stat(text_get(&pattern), &st) == 0 && S_ISDIR(st.st_mode)) {
        text_add(&pattern, "/*");
    }
    glob_t found = {0};
    bool ok = glob(text_get(&pattern), 0, NULL, &found) == 0;
    if (!ok) {
        text_fail(err, "no file matches '%s'", text_get(&pattern));
    }
    for (size_t i = 0; ok && i < found.gl_pathc; i++) {
        if (stat(found.gl_pathv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            continue;
        }
        const char *name = strrchr(found.gl_pathv[i], '/');
        name = name ? name + 1 : found.gl_pathv[i];
        EVP_DigestUpdate(ctx, name, strlen(name) + 1);
        ok = feed_file(ctx, found.gl_pathv[i], err);
    }
    globfree(&found);
    text_finish(&pattern);
    return ok;
}

bool build_digest_data(const char *data, struct text *out, struct text *err) {
    // "stories" and "stories:…" are generated by the worker; its build says the rest.
    if (!*data || !strncmp(data, "stories", 7)) {
        return true;
    }
    const char *known = remembered("data:", data);
    if (known) {
        text_add(out, known);
        return true;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    char *words = text_copy(data), *rest = words, *word;
    bool ok = true;
    while (ok && (word = strsep(&rest, ", "))) {
        ok = !*word || feed_word(ctx, word, err);
    }
    if (ok) {
        char digest[65];
        finish_digest(ctx, digest);
        remember("data:", data, digest);
        text_add(out, digest);
    }
    free(words);
    EVP_MD_CTX_free(ctx);
    return ok;
}
