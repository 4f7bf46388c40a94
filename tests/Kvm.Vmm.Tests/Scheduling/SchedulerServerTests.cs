using System.Text;
using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class SchedulerServerTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvm-sched-").FullName;
    private readonly int[] _cpus = HostThread.GetAffinity(0);
    private readonly System.Collections.Concurrent.ConcurrentQueue<SchedulingEvent> _events = new();
    private SchedulerServer? _server;
    private Thread? _thread;

    public void Dispose()
    {
        if (_server is not null)
        {
            _server.Stop();
            _thread!.Join();
            _server.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_guest_joins_is_shown_and_leaves()
    {
        Start("rr");

        using (Join("rr", "web"))
        {
            using var client = SchedulerClient.Find(_folder, _cpus)!;
            client.Policy.Should().Be("rr");
            client.Show("text").Should().Contain("web").And.Contain("policy rr");
            JsonDocument.Parse(client.Show("json")).RootElement.GetProperty("vms")[0].GetProperty("vcpus")[0].GetProperty("state").GetString().Should().Be("starting");
            client.Show("prometheus").Should().Contain($"kvmsharp_sched_guests{{policy=\"rr\",cpus=\"{CpuList.Format(_cpus)}\"}} 1");
            client.Why("web").Should().StartWith("web vCPU 0 has not come to the gate yet");
        }

        using var later = SchedulerClient.Find(_folder, _cpus)!;
        Until(() => !later.Show("text").Contains("web", StringComparison.Ordinal));
        _events.Select(e => (e.Kind, e.Subject, e.ProcessId)).Should().Equal(("admitted", "web", Environment.ProcessId), ("left", "web", Environment.ProcessId));
    }

    [Fact]
    public void Another_policy_is_refused_and_both_are_named()
    {
        Start("rr");

        Action join = () => Join("fcfs", "x").Dispose();

        join.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0401" && e.Message.Contains("rr rules CPUs") && e.Message.Contains("fcfs"));
    }

    [Fact]
    public void Rules_that_are_not_the_schedulers_are_told_with_both_named()
    {
        Start("rr");
        var notices = new List<string>();

        Join("rr", "same", notice: notices.Add, rules: new SchedulerRules { Slice = 4_000_000 }).Dispose();
        notices.Should().BeEmpty();
        Join("rr", "other", notice: notices.Add, rules: new SchedulerRules { Slice = 10_000_000, Period = 50_000_000 }).Dispose();

        notices.Should().Equal(
            $"the scheduler of CPUs {CpuList.Format(_cpus)} keeps its --slice (4ms); 10ms was asked for",
            $"the scheduler of CPUs {CpuList.Format(_cpus)} keeps its --period (100ms); 50ms was asked for");
    }

    [Fact]
    public void A_second_scheduler_for_the_same_CPUs_is_refused()
    {
        Start("rr");

        Action second = () => SchedulerServer.Open(Settings("fcfs"), _folder, inherited: false).Dispose();

        second.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0401");
    }

    [Fact]
    public void A_guest_for_which_there_is_no_room_is_refused_or_waits_for_its_turn()
    {
        Start("rr");
        var first = Join("rr", "first", mib: 800);

        Action refused = () => Join("rr", "second", mib: 800).Dispose();
        refused.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0400");
        using var queued = new ManualResetEventSlim();
        SchedulerPlace? place = null;
        var waiter = new Thread(() => place = Join("rr", "second", mib: 800, mayWait: true, notice: _ => queued.Set()));
        waiter.Start();
        queued.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue();
        place.Should().BeNull();
        using (var client = SchedulerClient.Find(_folder, _cpus)!)
        {
            client.Show("text").Should().Contain("1 wait to be admitted").And.Contain("\n1  second (process ");
            JsonDocument.Parse(client.Show("json")).RootElement.GetProperty("queue")[0].GetProperty("name").GetString().Should().Be("second");
            client.Why("second").Should().StartWith("second waits to be admitted since ");
        }

        first.Dispose();
        waiter.Join();
        place.Should().NotBeNull();
        place!.Dispose();
    }

    [Fact]
    public void A_thousand_processes_wait_for_a_place_and_leave_the_queue_with_their_connections()
    {
        Start("rr");
        using var first = Join("rr", "first", mib: 1024);
        var waiting = new List<UnixSocket>();
        for (int i = 0; i < 1000; i++)
        {
            UnixSocket.TryConnect(SchedulerClient.SocketPath(_folder, _cpus), out var socket).Should().Be(0);
            Wire.Send(socket!, RegistrationForm.Write(new SchedulingRequest { Name = $"w{i}", Job = new JobSpec { Needs = new ResourceVector(0, 1 << 20) } }, mayWait: true)).Should().BeTrue();
            using var answer = Wire.Receive(socket!, patience: 30_000, out _);
            Wire.Text(answer!.RootElement, "status").Should().Be("queued");
            waiting.Add(socket!);
        }

        using var client = SchedulerClient.Find(_folder, _cpus)!;
        client.Show("prometheus").Should().MatchRegex("(?m)^kvmsharp_sched_queued\\{.*\\} 1000$");
        client.Why("w999").Should().Contain(", 1000 of 1000: ");

        waiting.ForEach(socket => socket.Dispose());
        Until(() => !client.Show("text").Contains("wait to be admitted", StringComparison.Ordinal));
    }

    [Fact]
    public void A_wait_for_a_place_can_be_ended()
    {
        Start("rr");
        using var first = Join("rr", "first", mib: 800);
        using var cancel = new CancellationTokenSource();

        Action wait = () => Join("rr", "second", mib: 800, mayWait: true, notice: _ => cancel.Cancel(), cancel: cancel.Token);

        wait.Should().Throw<OperationCanceledException>();
    }

    [Fact]
    public void A_scheduler_that_ends_is_told_to_its_guests()
    {
        Start("rr");
        using var place = Join("rr", "guest");
        using var lost = new ManualResetEventSlim();
        place.Seats.WhenLost = _ => lost.Set();

        _server!.Stop();
        _thread!.Join();
        _server.Dispose();
        _server = null;

        lost.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue();
        SchedulerClient.Find(_folder, _cpus).Should().BeNull();
    }

    [Fact]
    public void A_scheduler_that_ends_with_its_guests_does()
    {
        Start("rr", s => s with { EndWithGuests = true });
        Join("rr", "guest").Dispose();

        _thread!.Join(TimeSpan.FromSeconds(30)).Should().BeTrue();
    }

    [Fact]
    public void A_socket_nobody_listens_at_is_no_scheduler()
    {
        UnixSocket.Listen(SchedulerClient.SocketPath(_folder, _cpus), 1).Dispose();

        SchedulerClient.Find(_folder, _cpus).Should().BeNull();
    }

    [Fact]
    public void Guests_that_are_pinned_to_other_CPUs_are_refused()
    {
        Start("rr");

        Action join = () => Join("rr", "x", affinity: [8000]).Dispose();

        join.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0404");
    }

    [SkippableFact]
    public void A_guest_is_confined_to_the_CPUs_its_process_may_use()
    {
        Skip.If(_cpus.Length < 2, "needs 2 CPUs");
        Start("rr");
        SchedulerPlace? place = null;
        var confined = new Thread(() =>
        {
            HostThread.SetAffinity(0, [_cpus[1]]);
            place = Join("rr", "confined");
        });
        confined.Start();
        confined.Join();
        using var free = Join("rr", "free");

        using var client = SchedulerClient.Find(_folder, _cpus)!;
        var vms = JsonDocument.Parse(client.Show("json")).RootElement.GetProperty("vms");
        vms.EnumerateArray().Select(vm => vm.GetProperty("affinity").GetString()).Should().Equal(CpuList.Format([_cpus[1]]), CpuList.Format(_cpus));
        place!.Dispose();
    }

    [Fact]
    public void The_socket_is_its_users_alone()
    {
        Start("rr");

        File.GetUnixFileMode(SchedulerClient.SocketPath(_folder, _cpus)).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    [Fact]
    public void Whatever_a_client_sends_others_are_served()
    {
        Start("rr");
        Prop.ForAll<byte[]>(noise =>
        {
            UnixSocket.TryConnect(SchedulerClient.SocketPath(_folder, _cpus), out var socket).Should().Be(0);
            using (socket)
            {
                if (noise.Length > 0)
                    socket!.Send(noise);
            }

            return true;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(50));
        foreach (string text in (string[])["", "{}", "[]", "{\"op\":1}", "{\"op\":\"register\",\"vcpus\":-1,\"weight\":\"x\",\"affinity\":\"a-b\"}", "{\"op\":\"\\ud800\"}", "{\"op\":\"show\",\"format\":7}"])
        {
            UnixSocket.TryConnect(SchedulerClient.SocketPath(_folder, _cpus), out var socket).Should().Be(0);
            byte[] body = Encoding.UTF8.GetBytes(text);
            socket!.Send([.. BitConverter.GetBytes(body.Length), .. body]);
            Wire.Receive(socket, patience: 2000, out _)?.Dispose();
            socket.Dispose();
        }

        using var client = SchedulerClient.Find(_folder, _cpus);
        client!.Show("text").Should().Contain("policy rr");
    }

    [Fact]
    public void A_registration_arrives_as_it_was_sent()
    {
        var request = new SchedulingRequest
        {
            Name = "a \"name\"",
            ProcessId = 7,
            Class = "batch",
            Affinity = [0, 1, 5],
            Job = new JobSpec { Vcpus = 3, Priority = -4, Weight = 2.5, Length = 123, Cap = 0.5, Reservation = 0.25, Gang = true, Node = 1, Needs = new ResourceVector(0, 1, 2, 3, 4) },
        };

        using var message = Wire.Parse(RegistrationForm.Write(request, mayWait: true).AsMemory(Wire.HeaderBytes))!;
        var read = RegistrationForm.Read(message.RootElement, 7);

        (read with { Affinity = [] }).Should().Be(request with { Affinity = [] });
        read.Affinity.Should().Equal(request.Affinity);
    }

    private SchedulerServerSettings Settings(string policy) => new()
    {
        Dispatcher = new DispatcherSettings { Policy = policy, Topology = HostTopology.Read(_cpus), Slots = 256, RealTime = false },
        Limits = new AdmissionLimits(1 << 30, 64),
        Event = _events.Enqueue,
    };

    private void Start(string policy, Func<SchedulerServerSettings, SchedulerServerSettings>? change = null)
    {
        _server = SchedulerServer.Open(change?.Invoke(Settings(policy)) ?? Settings(policy), _folder, inherited: false);
        _thread = new Thread(_server.Run);
        _thread.Start();
    }

    private SchedulerPlace Join(
        string policy, string name, int mib = 16, bool mayWait = false, Action<string>? notice = null, int[]? affinity = null, SchedulerRules? rules = null, CancellationToken cancel = default) => SchedulerClient.Join(
        new SchedulerWish
        {
            Policy = policy,
            Request = new SchedulingRequest { Name = name, Affinity = affinity ?? [], Job = new JobSpec { Needs = new ResourceVector(0, (double)mib * (1 << 20)) } },
            Rules = rules ?? new SchedulerRules(),
            MayWait = mayWait,
            Notice = notice,
        },
        _folder,
        cancel);

    private static void Until(Func<bool> condition) => SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(30)).Should().BeTrue();
}
