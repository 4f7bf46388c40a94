namespace Samples.Service;

/// <summary>A guest in which the service runs: busybox's web server with one program behind it.</summary>
public sealed class ServiceGuest : VmFixture
{
    protected override GuestOptions Options => new() { Name = "service" };

    /// <summary>Once: the service is installed, started, and answers. Every test finds it so.</summary>
    protected override async Task PrepareAsync(Guest guest)
    {
        await guest.CopyToAsync(Path.Combine(AppContext.BaseDirectory, "www"), "/srv");
        await guest.CheckAsync("sh", "-c", "mkdir -p /var; httpd -p 80 -h /srv; until wget -q -O /dev/null http://127.0.0.1/; do sleep 0.05; done");
    }
}

/// <summary>A service tested in a guest: it may listen at port 80, write where it wants, and be killed.</summary>
public sealed class ServiceTests(ServiceGuest fixture) : IClassFixture<ServiceGuest>
{
    private Guest Guest => fixture.Guest;

    [VmFact]
    public async Task It_serves_its_page() =>
        Assert.Equal("<h1>It works</h1>", await FetchAsync("/"));

    [VmTheory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task It_counts_from_one_in_every_test(int times)
    {
        string count = "";
        for (int i = 0; i < times; i++)
            count = await FetchAsync("/cgi-bin/counter");
        Assert.Equal($"{times}", count);
    }

    [VmFact]
    public async Task A_page_that_is_not_there_is_an_error() =>
        Assert.NotEqual(0, (await Guest.ExecAsync("wget", "-q", "-O", "-", "http://127.0.0.1/nothing")).ExitCode);

    [VmFact]
    public async Task When_its_disk_is_full_it_still_serves_pages()
    {
        await Guest.CheckAsync("sh", "-c", "mount -t tmpfs -o size=4k tmpfs /var; dd if=/dev/zero of=/var/filler bs=4k count=1 2>/dev/null");
        Assert.Equal("<h1>It works</h1>", await FetchAsync("/"));
    }

    [VmFact]
    public async Task When_it_is_killed_nobody_answers()
    {
        await Guest.CheckAsync("killall", "httpd");
        Assert.NotEqual(0, (await Guest.ExecAsync("wget", "-q", "-O", "-", "http://127.0.0.1/")).ExitCode);
    }

    private Task<string> FetchAsync(string path) => Guest.CheckAsync("wget", "-q", "-O", "-", $"http://127.0.0.1{path}");
}
