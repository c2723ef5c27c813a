#include "base/str.h"
#include "scheduler/strategy_priv.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <math.h>

enum { HOOK_EVERY = 100, CLOCK_EVERY = 1000, DEFAULT_INSTRUCTIONS = 1000000, DEFAULT_MEMORY = 1 << 20 };
#define DEFAULT_TIME_NS (INT64_C(50) * 1000000)

/* What a script may ask of a node. The order is that of field_push(). */
enum field {
    ID,
    NAME,
    TASKS,
    SERVICE_TASKS,
    CPU,
    MEMORY,
    FREE_CPU,
    FREE_MEMORY,
    IMAGE,
    DEGRADED,
    FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {
    "id", "name", "tasks", "service_tasks", "cpu", "memory", "free_cpu", "free_memory", "image", "degraded",
};

struct script {
    struct sched_strategy base;
    char *name;
    lua_State *lua;
    struct sched_lua_limits limits;
    size_t used, allowed;
    int64_t instructions_left, ends_ns;
    const char *limit_hit;
    const char
        *fields[FIELD_COUNT]; /* short texts are one object in Lua, so that these addresses tell them */
    const struct drover_strategy_node **slot; /* in the userdata that stands for the node */
    /* the batch in work */
    const struct drover_strategy_task *task;
    const struct drover_strategy_node *nodes;
    size_t count;
    double *scores;
};

static struct script *script_of(lua_State *lua)
{
    return *(struct script **)lua_getextraspace(lua);
}

static void *script_alloc(void *context, void *p, size_t old, size_t new)
{
    struct script *s = context;
    if (!p)
        old = 0; /* then it is the kind of object */
    if (new == 0) {
        free(p);
        s->used -= old;
        return NULL;
    }
    if (new > old && (s->used + (new - old) > s->allowed)) {
        s->limit_hit = "its memory";
        return NULL;
    }
    void *made = realloc(p, new);
    if (made)
        s->used += new - old;
    return made;
}

/* Raises again at each instruction once a limit is hit, so that no pcall of the script can go on. */
static void script_hook(lua_State *lua, lua_Debug *where)
{
    struct script *s = script_of(lua);
    s->instructions_left -= HOOK_EVERY;
    if (s->instructions_left < 0)
        s->limit_hit = "its instructions";
    else if (s->limits.clock_ns && s->instructions_left % CLOCK_EVERY == 0 &&
             s->limits.clock_ns() > s->ends_ns)
        s->limit_hit = "its time";
    else
        return;
    s->instructions_left = 0;
    lua_sethook(lua, script_hook, LUA_MASKCOUNT, 1);
    luaL_error(lua, "stopped");
}

static const struct drover_strategy_node *node_of(lua_State *lua)
{
    struct script *s = script_of(lua);
    const struct drover_strategy_node **slot = lua_touserdata(lua, 1);
    if (slot != s->slot || !*slot)
        luaL_error(lua, "this is no node, or it is used after score() has returned");
    return *slot;
}

static void field_push(lua_State *lua, const struct drover_strategy_node *n, int field)
{
    switch (field) {
    case ID:
        lua_pushstring(lua, n->id);
        break;
    case NAME:
        lua_pushstring(lua, n->name);
        break;
    case TASKS:
        lua_pushinteger(lua, n->tasks);
        break;
    case SERVICE_TASKS:
        lua_pushinteger(lua, n->service_tasks);
        break;
    case CPU:
        lua_pushnumber(lua, (double)n->cpu_nano / 1e9);
        break;
    case MEMORY:
        lua_pushinteger(lua, n->memory_bytes);
        break;
    case FREE_CPU:
        lua_pushnumber(lua, (double)n->free_cpu_nano / 1e9);
        break;
    case FREE_MEMORY:
        lua_pushinteger(lua, n->free_memory_bytes);
        break;
    case DEGRADED:
        lua_pushboolean(lua, n->degraded != 0);
        break;
    default:
        lua_pushboolean(lua, n->has_image != 0);
    }
}

static int node_index(lua_State *lua)
{
    const struct drover_strategy_node *n = node_of(lua);
    struct script *s = script_of(lua);
    const char *key = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : NULL;
    for (int i = 0; i < FIELD_COUNT; i++)
        if (key == s->fields[i]) {
            field_push(lua, n, i);
            return 1;
        }
    return luaL_error(lua, "a node has no \"%s\"", key ? key : "(not a text)");
}

static int node_label(lua_State *lua)
{
    const struct drover_strategy_node *n = node_of(lua);
    lua_pushstring(lua, n->label(n, luaL_checkstring(lua, 2))); /* NULL is nil */
    return 1;
}

static void keep_only(lua_State *lua, const char *library, const char *const *names)
{
    lua_getglobal(lua, library);
    lua_newtable(lua);
    for (; *names; names++) {
        lua_getfield(lua, -2, *names);
        lua_setfield(lua, -2, *names);
    }
    lua_setglobal(lua, library);
    lua_pop(lua, 1);
}

static int plain_find(lua_State *lua)
{
    const char *text = luaL_checkstring(lua, 1), *part = luaL_checkstring(lua, 2);
    const char *at = strstr(text, part);
    if (!at)
        return 0;
    lua_pushinteger(lua, at - text + 1);
    lua_pushinteger(lua, at - text + (lua_Integer)strlen(part));
    return 2;
}

/* Left out: what reaches outside, makes code, or works long in C where no instruction is counted: patterns,
 * sort and move. A metatable could have a __gc, which Lua runs without counting. */
static void open_libraries(lua_State *lua)
{
    static const char *const base[] = {"assert", "error",    "ipairs",   "next",   "pairs",
                                       "pcall",  "rawequal", "rawget",   "rawlen", "rawset",
                                       "select", "tonumber", "tostring", "type",   NULL};
    static const char *const text[] = {"byte", "char",    "format", "len",   "lower",
                                       "rep",  "reverse", "sub",    "upper", NULL};
    static const char *const list[] = {"concat", "insert", "pack", "remove", "unpack", NULL};
    static const char *const maths[] = {"abs", "ceil", "exp",        "floor", "fmod",       "huge",
                                        "log", "max",  "maxinteger", "min",   "mininteger", "modf",
                                        "pi",  "sqrt", "tointeger",  "type",  "ult",        NULL};
    luaL_requiref(lua, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(lua, LUA_STRLIBNAME, luaopen_string, 1);
    luaL_requiref(lua, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(lua, LUA_MATHLIBNAME, luaopen_math, 1);
    lua_settop(lua, 0);
    keep_only(lua, LUA_STRLIBNAME, text);
    keep_only(lua, LUA_TABLIBNAME, list);
    keep_only(lua, LUA_MATHLIBNAME, maths);
    /* Texts look their methods up in the library's table: let it be the short one. */
    lua_getglobal(lua, LUA_STRLIBNAME);
    lua_pushcfunction(lua, plain_find);
    lua_setfield(lua, -2, "find");
    lua_pushliteral(lua, "");
    lua_getmetatable(lua, -1);
    lua_pushvalue(lua, 1);
    lua_setfield(lua, -2, "__index");
    lua_settop(lua, 0);
    /* The globals: a new table with the kept ones. */
    lua_newtable(lua);
    for (const char *const *name = base; *name; name++) {
        lua_getglobal(lua, *name);
        lua_setfield(lua, 1, *name);
    }
    static const char *const libraries[] = {LUA_STRLIBNAME, LUA_TABLIBNAME, LUA_MATHLIBNAME};
    for (size_t i = 0; i < ARRAY_SIZE(libraries); i++) {
        lua_getglobal(lua, libraries[i]);
        lua_setfield(lua, 1, libraries[i]);
    }
    lua_pushcfunction(lua, node_label);
    lua_setfield(lua, 1, "label");
    lua_rawseti(lua, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushnil(lua); /* the full libraries are not to be reached by any way */
    lua_setfield(lua, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

static int protected_open(lua_State *lua)
{
    struct script *s = script_of(lua);
    open_libraries(lua);
    lua_newtable(lua); /* keeps the fields' names */
    for (int i = 0; i < FIELD_COUNT; i++) {
        lua_pushstring(lua, field_names[i]);
        s->fields[i] = lua_tostring(lua, -1);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, LUA_REGISTRYINDEX, "drover.fields");
    s->slot = lua_newuserdatauv(lua, sizeof(*s->slot), 0);
    *s->slot = NULL;
    lua_newtable(lua);
    lua_pushcfunction(lua, node_index);
    lua_setfield(lua, -2, "__index");
    lua_pushboolean(lua, 0);
    lua_setfield(lua, -2, "__metatable");
    lua_setmetatable(lua, -2);
    lua_setfield(lua, LUA_REGISTRYINDEX, "drover.node");
    return 0;
}

static void task_push(lua_State *lua, const struct drover_strategy_task *task)
{
    lua_createtable(lua, 0, 6);
    lua_pushstring(lua, task->service);
    lua_setfield(lua, -2, "service");
    lua_pushstring(lua, task->image);
    lua_setfield(lua, -2, "image");
    lua_pushstring(lua, task->options);
    lua_setfield(lua, -2, "options");
    lua_pushnumber(lua, (double)task->cpu_nano / 1e9);
    lua_setfield(lua, -2, "cpu");
    lua_pushinteger(lua, task->memory_bytes);
    lua_setfield(lua, -2, "memory");
    lua_pushinteger(lua, task->priority);
    lua_setfield(lua, -2, "priority");
}

static int protected_score(lua_State *lua)
{
    struct script *s = script_of(lua);
    lua_pushglobaltable(lua);
    lua_pushliteral(lua, "score");
    lua_rawget(lua, -2);
    if (!lua_isfunction(lua, -1))
        return luaL_error(lua, "score is no function any more");
    task_push(lua, s->task);
    lua_getfield(lua, LUA_REGISTRYINDEX, "drover.node");
    int at = lua_gettop(lua);
    for (size_t i = 0; i < s->count; i++) {
        *s->slot = &s->nodes[i];
        lua_pushvalue(lua, at - 2);
        lua_pushvalue(lua, at - 1);
        lua_pushvalue(lua, at);
        lua_call(lua, 2, 1);
        int is_number = 0;
        s->scores[i] = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumberx(lua, -1, &is_number) : NAN;
        if (!is_number && !lua_isnil(lua, -1))
            return luaL_error(lua, "score() returned a %s: a number is wanted, or nil to leave the node out",
                              luaL_typename(lua, -1));
        lua_pop(lua, 1);
    }
    return 0;
}

static int protected_load(lua_State *lua)
{
    lua_call(lua, 0, 0);
    lua_pushglobaltable(lua);
    lua_pushliteral(lua, "score");
    lua_rawget(lua, -2);
    if (!lua_isfunction(lua, -1))
        return luaL_error(lua, "the script defines no function score(task, node)");
    return 0;
}

/* Calls what is on the stack within the limits. An error's value may be anything of the script's: only a text
 * is read. */
static int script_call(struct script *s, int arguments, struct err *err)
{
    lua_State *lua = s->lua;
    s->instructions_left = s->limits.instructions;
    s->ends_ns = s->limits.clock_ns ? s->limits.clock_ns() + s->limits.time_ns : 0;
    s->limit_hit = NULL;
    lua_sethook(lua, script_hook, LUA_MASKCOUNT, HOOK_EVERY);
    int status = lua_pcall(lua, arguments, 0, 0);
    lua_sethook(lua, NULL, 0, 0);
    if (s->slot)
        *s->slot = NULL;
    if (status == LUA_OK) {
        lua_settop(lua, 0);
        return 0;
    }
    const char *text = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "an error that is no text";
    int r = s->limit_hit ? err_set(err, ERR_LIMIT, "strategy %s: used up %s", s->name, s->limit_hit)
                         : err_set(err, ERR_INVALID, "strategy %s: %.400s", s->name, text);
    lua_settop(lua, 0);
    return r;
}

static int script_score(struct sched_strategy *self, const struct drover_strategy_task *task,
                        const struct drover_strategy_node *nodes, size_t count, double *scores,
                        struct err *err)
{
    struct script *s = (struct script *)self;
    s->task = task;
    s->nodes = nodes;
    s->count = count;
    s->scores = scores;
    lua_pushcfunction(s->lua, protected_score);
    return script_call(s, 0, err);
}

static void script_free(struct sched_strategy *self)
{
    struct script *s = (struct script *)self;
    if (s->lua)
        lua_close(s->lua);
    free(s->name);
    free(s);
}

static int script_load(struct script *s, const char *text, size_t n, struct err *err)
{
    s->allowed = SIZE_MAX / 2;
    lua_pushcfunction(s->lua, protected_open);
    int r = script_call(s, 0, err);
    if (r < 0)
        return r;
    s->allowed = s->used + s->limits.memory_bytes;
    _cleanup_free_ char *chunk = str_printf("=%.60s", s->name);
    lua_pushcfunction(s->lua, protected_load);
    s->limit_hit = NULL;
    if (luaL_loadbufferx(s->lua, text, n, chunk, "t") != LUA_OK) {
        const char *why = lua_type(s->lua, -1) == LUA_TSTRING ? lua_tostring(s->lua, -1) : "it does not load";
        return err_set(err, ERR_INVALID, "strategy %s: %.400s", s->name, why);
    }
    return script_call(s, 1, err);
}

int sched_strategy_lua(const char *name, const char *text, size_t n, const struct sched_lua_limits *limits,
                       struct sched_strategy **ret, struct err *err)
{
    if (n > SCHED_SCRIPT_MAX)
        return err_set(err, ERR_LIMIT, "strategy %s: the script has %zu bytes, more than %d", name, n,
                       SCHED_SCRIPT_MAX);
    struct script *s = NEW(struct script);
    s->base = (struct sched_strategy){script_score, script_free};
    s->name = mem_strdup(name);
    if (limits)
        s->limits = *limits;
    s->limits.memory_bytes = s->limits.memory_bytes ? s->limits.memory_bytes : DEFAULT_MEMORY;
    s->limits.instructions = s->limits.instructions ? s->limits.instructions : DEFAULT_INSTRUCTIONS;
    s->limits.time_ns = s->limits.time_ns ? s->limits.time_ns : DEFAULT_TIME_NS;
    s->allowed = SIZE_MAX / 2;
    s->lua = lua_newstate(script_alloc, s);
    int r;
    if (!s->lua) {
        r = err_set(err, ERR_NO_MEMORY, "strategy %s: no memory for Lua", name);
    } else {
        *(struct script **)lua_getextraspace(s->lua) = s;
        r = script_load(s, text, n, err);
    }
    if (r < 0) {
        script_free(&s->base);
        return r;
    }
    *ret = &s->base;
    return 0;
}
