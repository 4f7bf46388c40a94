using System.Text;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Manager.Commands;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Rest;

/// <summary><c>/vms</c> and <c>/operations</c>: machines, and what is done with them one thing after another.</summary>
/// <param name="services">What they work with.</param>
internal sealed class VmRoutes(RestServices services)
{
    /// <summary>The longest that a request for an operation waits.</summary>
    private const int LongestWaitMs = 60_000;

    public IEnumerable<Route> All =>
    [
        new("GET", "/vms", "Lists machines.", List) { Gives = ApiBody.Of(RestJson.Default.VmListForm) },
        new("POST", "/vms", "Makes a machine.", Create) { Takes = ApiBody.Of(RestJson.Default.CreateForm), Gives = ApiBody.Of(RestJson.Default.VmForm), Status = 201 },
        new("GET", "/vms/{name}", "Tells all that is known of a machine.", Get) { Gives = ApiBody.Of(RestJson.Default.VmForm) },
        new("DELETE", "/vms/{name}", "Forgets a machine; its disks stay.", Remove) { Status = 204, Query = [new("force", "Ends it where it runs, and removes it where its record cannot be read.")] },
        Operation("start", "Starts a machine."),
        Operation("stop", "Has a machine's guest power off, and ends it where it does not in time.") with { Takes = ApiBody.Of(RestJson.Default.StopForm), MayBeEmpty = true },
        Operation("kill", "Ends a machine at once."),
        Operation("pause", "Has a machine's guest stand still."),
        Operation("resume", "Lets a paused machine's guest go on."),
        new("GET", "/vms/{name}/map", "Tells every virtual resource of a running machine with what backs it.", request => Told(request, "map")) { Gives = ApiBody.AnyJson },
        new("GET", "/vms/{name}/stats", "Tells a running machine's exits and CPU time.", request => Told(request, "stats 1000 1")) { Gives = ApiBody.AnyJson },
        new("GET", "/operations", "Lists operations.", Operations) { Gives = ApiBody.Of(RestJson.Default.OperationListForm), Query = [new("vm", "Those of one machine.")] },
        new("GET", "/operations/{id}", "Tells what has become of an operation.", FollowOperation)
        {
            Gives = ApiBody.Of(RestJson.Default.OperationForm),
            Query = [new("wait", "Waits so many ms until it has ended, 60000 at most.")],
        },
        new("DELETE", "/operations/{id}", "Takes an operation back: one that waits is not begun, one that runs is asked to end.", CancelOperation) { Gives = ApiBody.Of(RestJson.Default.OperationForm) },
    ];

    private Route Operation(string verb, string summary) =>
        new("POST", $"/vms/{{name}}/{verb}", summary, request => Take(request, request["name"], verb, ArgumentsOf(request))) { Gives = ApiBody.Of(RestJson.Default.OperationForm), Status = 202 };

    private static ReadOnlyMemory<byte> ArgumentsOf(ApiRequest request) => request.Json.ValueKind == JsonValueKind.Undefined ? default
        : Encoding.UTF8.GetBytes($"{{\"timeoutMs\":{request.Read(RestJson.Default.StopForm).TimeoutMs}}}");

    /// <summary>Takes an operation: it is kept before this returns, and done whatever ends meanwhile. A header Idempotency-Key makes asking twice harmless.</summary>
    public Task<ApiAnswer> Take(ApiRequest request, string vm, string verb, ReadOnlyMemory<byte> arguments)
    {
        // Told at once where it could only fail.
        _ = services.Manager.Store.Read(vm);
        var id = services.Queue.Enqueue(vm, verb, arguments, request.Header("Idempotency-Key"));
        return Task.FromResult(Show(services.Queue.Get(id)!, 202));
    }

    private Task<ApiAnswer> List(ApiRequest request)
    {
        var entries = services.Manager.List();
        return Task.FromResult(ApiAnswer.Json(json =>
        {
            json.WriteStartObject();
            json.WriteStartArray("vms");
            foreach (var entry in entries.Where(entry => entry.Record is not null))
                Write(json, entry.Record!);
            json.WriteEndArray();
            json.WriteStartArray("problems");
            foreach (var entry in entries.Where(entry => entry.Problem is not null))
                JsonSerializer.Serialize(json, new ProblemForm(entry.Name, entry.Problem!.Error.Id, entry.Problem.Message), RestJson.Default.ProblemForm);
            json.WriteEndArray();
            json.WriteEndObject();
        }));
    }

    private Task<ApiAnswer> Create(ApiRequest request)
    {
        var form = request.Read(RestJson.Default.CreateForm);
        var settings = ConfigFile.Parse(Encoding.UTF8.GetBytes(form.Config.GetRawText()), "config");
        if (form.Name is not null)
            settings = settings with { Machine = settings.Machine with { Name = VmName.Check(form.Name) } };
        var restart = form.Restart is null ? default : RestartPolicy.Parse(form.Restart) ?? throw new ApiRefusal(400, ApiErrors.BadRequest, "restart is not one of no, on-failure, on-failure:N, always");
        var record = services.Manager.Create(settings, new CreateOptions { Restart = restart, Autostart = form.Autostart, Shared = form.Shared }, request.Cancel);
        return Task.FromResult(Show(record, 201));
    }

    private Task<ApiAnswer> Get(ApiRequest request) => Task.FromResult(Show(services.Manager.Get(request["name"]), 200));

    private Task<ApiAnswer> Remove(ApiRequest request) => Task.Run(() =>
    {
        services.Manager.Remove(request["name"], request.Flag("force"), request.Cancel);
        return ApiAnswer.Done;
    });

    private async Task<ApiAnswer> Told(ApiRequest request, string question)
    {
        var answer = await services.Ask(request["name"], question, request.Cancel);
        return ApiAnswer.Json(answer.WriteTo);
    }

    private Task<ApiAnswer> Operations(ApiRequest request)
    {
        var commands = services.Queue.List(request.Query("vm") is { } vm ? VmName.Check(vm) : null);
        return Task.FromResult(ApiAnswer.Json(json =>
        {
            json.WriteStartObject();
            json.WriteStartArray("operations");
            foreach (var command in commands)
                Write(json, command);
            json.WriteEndArray();
            json.WriteEndObject();
        }));
    }

    private Task<ApiAnswer> FollowOperation(ApiRequest request)
    {
        var id = IdOf(request);
        int wait = 0;
        if (request.Query("wait") is { } text && (!int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out wait) || wait > LongestWaitMs))
            throw new ApiRefusal(400, ApiErrors.BadRequest, $"wait is a number of ms up to {LongestWaitMs}");
        var command = services.Queue.Get(id) ?? throw NoSuch(id.ToString());
        return wait == 0 || command.HasEnded
            ? Task.FromResult(Show(command, 200))
            : Task.Run(() => Show(services.Queue.Wait(id, TimeSpan.FromMilliseconds(wait), request.Cancel), 200));
    }

    private Task<ApiAnswer> CancelOperation(ApiRequest request)
    {
        var id = IdOf(request);
        return Task.FromResult(Show(services.Queue.Cancel(id) ?? throw NoSuch(id.ToString()), 200));
    }

    private static CommandId IdOf(ApiRequest request) => CommandId.TryParse(request["id"], out var id) ? id : throw NoSuch(VisibleText.Quote(request["id"], 64));

    private static VmmException NoSuch(string id) => new(ManagerErrors.NoSuchCommand, id);

    private static ApiAnswer Show(VmRecord record, int status) => ApiAnswer.Json(json => Write(json, record), status, status == 201 ? $"/vms/{record.Name}" : null);

    private static ApiAnswer Show(Command command, int status) => ApiAnswer.Json(json => Write(json, command), status, status == 202 ? $"/operations/{command.Id}" : null);

    private static void Write(Utf8JsonWriter json, VmRecord record)
    {
        json.WriteStartObject();
        VmRecordJson.WriteMembers(json, record);
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, Command command)
    {
        json.WriteStartObject();
        CommandJson.WriteMembers(json, command);
        json.WriteEndObject();
    }
}
