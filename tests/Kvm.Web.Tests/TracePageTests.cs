using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Kvm.Web.Tests;

/// <summary>The page of a trace in a real browser, told made-up events.</summary>
public sealed class TracePageTests : IDisposable
{
    private readonly EventFeed _feed = new();
    private readonly ConcurrentQueue<string> _commands = new();
    private readonly LoopbackSite _site;

    public TracePageTests()
    {
        _site = LoopbackSite.Open("trace", 0, _feed, (command, arguments, _) =>
        {
            _commands.Enqueue($"{command} {arguments.GetRawText()}");
            return Task.FromResult(command switch
            {
                "walk" => Json("""{"address":"0x1000","paging":true,"cr3":"0x4000","levels":[{"name":"PML4","index":0,"at":"0x4000","value":"0x5003","flags":["present","writable","supervisor"]},{"name":"PDPT","index":3,"at":"0x5018","value":"0x0","flags":["not present"]}],"physical":null}"""),
                "registers" => Json("""[{"name":"rip","value":"0x7c00"},{"name":"rax","value":"0x1"}]"""),
                "step" => new PageAnswer("{\"error\":\"this host's KVM does not step\"}"u8.ToArray(), 409),
                _ => Json("{}"),
            });
        });
        _feed.PublishLast("about", """{"mode":"live","name":"guest","engine":"soft","kernel":"/tmp/vmlinux","commandLine":"","vcpus":2,"memoryBytes":268435456,"cpus":2}"""u8);
        _feed.PublishLast("state", """{"state":"running","text":""}"""u8);
        _feed.PublishLast("memory", """[{"start":"0x0","end":"0x9fc00","kind":"ram","name":"memory"}]"""u8);
    }

    public void Dispose() => _site.Dispose();

    [SkippableFact]
    public async Task What_a_guest_prints_is_shown_and_never_run()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        await tab.Until("document.querySelector('#state').textContent === 'running'");
        string hostile = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\u001b[31mred\u001b]0;title\u0007 \u202egnp.exe\r\nnext\0 &amp; </pre><!--";
        Console(hostile);
        Exits(Exit(1, 0, "io", did: "<b onmouseover='window.hit = 3'>wrote</b>", symbol: "<svg/onload=window.hit=4>"));
        await tab.Until("document.querySelector('#console').textContent.includes('<!--') && document.querySelectorAll('#rows tr').length === 1");
        string shown = await tab.Text("#console");
        shown.Should().Contain("<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>").And.Contain("^[[31mred^[]0;title^G").And.Contain("<U+202E>gnp.exe\nnext^@ &amp; </pre>");
        shown.Should().NotContain("\u001b").And.NotContain("\u202e");
        (await tab.Evaluate("document.querySelectorAll('#console script, #console img, #rows b, #rows svg, #flame svg, #details svg').length")).GetInt32().Should().Be(0);
        (await tab.Evaluate("String(window.hit)")).GetString().Should().Be("undefined");
        (await tab.Text("#rows")).Should().Contain("<svg/onload=window.hit=4>").And.Contain("<b onmouseover");
        chromium.Errors.Should().BeEmpty();
    }

    [SkippableFact]
    public async Task Scripts_of_others_are_not_allowed_in()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        await tab.Until("document.querySelector('#state').textContent === 'running'");
        var blocked = await tab.Evaluate("""
            new Promise(done => {
                document.addEventListener('securitypolicyviolation', event => done(event.violatedDirective));
                const script = document.createElement('script');
                script.textContent = 'window.hit = 1';
                document.body.append(script);
            })
            """);
        blocked.GetString().Should().StartWith("script-src");
        (await tab.Evaluate("String(window.hit)")).GetString().Should().Be("undefined");
        (await tab.Evaluate("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'refused')")).GetString().Should().Be("refused");
    }

    [SkippableFact]
    public async Task Exits_are_chosen_filtered_and_followed_by_keys()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        Exits([.. Enumerable.Range(1, 30).Select(i => Exit(i, i % 2, i % 3 == 0 ? "mmio" : "io", changed: $$"""{"rax":"0x{{i:x}}"}"""))]);
        await tab.Until("document.querySelectorAll('#rows tr').length === 30 && document.querySelector('tr.chosen td').textContent === '30'");
        await tab.Press("k");
        await tab.Press("k");
        await tab.Until("document.querySelector('tr.chosen td').textContent === '28'");
        (await tab.Text("#follow")).Should().Contain("Follow");
        (await tab.Evaluate("document.querySelector('#follow').getAttribute('aria-pressed')")).GetString().Should().Be("false", "somebody chose");
        (await tab.Text("#registers .changed")).Should().Contain("0x1c");
        await tab.Press("/");
        await tab.Type("mmio vcpu0");
        await tab.Until("document.querySelectorAll('#rows tr').length === 5");
        await tab.Press("Escape");
        await tab.Press("Home");
        await tab.Until("document.querySelector('tr.chosen td').textContent === '6'");
        await tab.Press("f");
        Exits(Exit(31, 0, "mmio"));
        Exits(Exit(36, 0, "mmio"));
        await tab.Until("document.querySelector('tr.chosen td').textContent === '36'");
        (await tab.Text("#flame")).Should().Contain("mmio").And.Contain("COM1");
        (await tab.Evaluate("[...document.querySelectorAll('#legend li')].map(item => item.textContent).join()")).GetString().Should().Be("io,mmio");
        chromium.Errors.Should().BeEmpty();
    }

    [SkippableFact]
    public async Task The_walk_of_an_address_is_shown_level_by_level()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        await tab.Until("document.querySelector('#state').textContent === 'running'");
        await tab.Press("g");
        await tab.Type("0x1000");
        await tab.Press("Enter");
        await tab.Until("document.querySelectorAll('.walk li').length === 4");
        (await tab.Text(".walk")).Should().Contain("CR3 0x4000").And.Contain("PML4[0] 0x5003").And.Contain("at 0x4000: present, writable, supervisor").And.Contain("PDPT[3] 0x0").And.Contain("0x1000 is not mapped");
        _commands.Should().ContainSingle().Which.Should().Be("""walk {"vcpu":0,"address":"0x1000"}""");
    }

    [SkippableFact]
    public async Task Buttons_stop_step_and_end_and_a_refusal_is_read_out()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        await tab.Until("document.querySelector('#stop').disabled === false");
        (await tab.Evaluate("document.querySelector('#step').disabled")).GetBoolean().Should().BeTrue("the guest runs");
        await tab.Click("#stop");
        await tab.Until("document.querySelector('#registers').textContent.includes('rip')");
        _feed.PublishLast("state", """{"state":"stopped","text":""}"""u8);
        await tab.Until("document.querySelector('#stop').textContent.startsWith('Go on') && !document.querySelector('#step').disabled");
        await tab.Press("s");
        await tab.Until("document.querySelector('[role=alert]').textContent.includes('does not step')");
        await tab.Press(" ");
        await tab.Until("document.querySelector('[role=alert]').textContent === ''");
        await tab.Click("#quit");
        while (_commands.Count < 5)
            await tab.Evaluate("new Promise(done => setTimeout(done, 10))");
        _commands.Select(command => command.Split(' ')[0]).Should().Equal("stop", "registers", "step", "continue", "quit");
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Text_is_readable_in_light_and_dark(bool dark)
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address, dark: dark);
        Exits(Exit(1, 0, "io", changed: """{"rax":"0x1"}"""));
        Console("\u001bhello");
        await tab.Until("document.querySelector('.control') && document.querySelectorAll('#rows tr').length === 1 && document.querySelector('.changed')");
        // WCAG 2.1, 1.4.3: 4.5 to 1 for text, over the ground it stands on.
        string worst = (await tab.Evaluate("""
            (() => {
                const g = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
                const rgb = css => { g.clearRect(0, 0, 1, 1); g.fillStyle = css; g.fillRect(0, 0, 1, 1); return [...g.getImageData(0, 0, 1, 1).data]; };
                const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
                const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
                let worst = [99, ''];
                for (const e of document.querySelectorAll('body *')) {
                    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest(':disabled') || !e.getClientRects().length) continue;
                    const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                    if (ratio < worst[0]) worst = [ratio, `${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`];
                }
                return `${worst[0].toFixed(2)} ${worst[1]}`;
            })()
            """)).GetString()!;
        double.Parse(worst.Split(' ')[0], CultureInfo.InvariantCulture).Should().BeGreaterThanOrEqualTo(4.5, worst);
        var ground = (await tab.Evaluate("getComputedStyle(document.body).backgroundColor")).GetString()!;
        (int.Parse(ground[4..].Split(',')[0], CultureInfo.InvariantCulture) < 128).Should().Be(dark, ground);
    }

    [SkippableFact]
    public async Task Everything_has_a_name_and_can_be_reached_by_tab()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        _feed.PublishLast("state", """{"state":"stopped","text":""}"""u8);
        await tab.Until("document.querySelector('#state').textContent === 'stopped'");
        (await tab.Evaluate("""
            [...document.querySelectorAll('button, input, canvas, [tabindex]')].filter(e => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).map(e => e.id).join()
            """)).GetString().Should().BeEmpty();
        var reached = new List<string>();
        for (int i = 0; i < 14; i++)
        {
            await tab.Press("Tab");
            reached.Add((await tab.Evaluate("document.activeElement.id || document.activeElement.textContent")).GetString()!);
        }

        reached.Should().Contain(["stop", "step", "follow", "quit", "timeline", "filter", "scroll", "console", "address", "Walk"]);
    }

    [SkippableFact]
    public async Task A_page_that_comes_again_begins_anew_and_one_whose_server_is_gone_says_so()
    {
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(_site.Address);
        Exits(Exit(1, 0, "io"), Exit(2, 0, "io"));
        Console("once");
        await tab.Until("document.querySelectorAll('#rows tr').length === 2");
        await tab.Ask("Page.reload");
        await tab.Until("document.querySelectorAll('#rows tr').length === 2 && document.querySelector('#console').textContent === 'once'");
        _site.Dispose();
        await tab.Until("document.querySelector('#state').textContent.includes('kvmsharp has ended')");
    }

    private void Console(string text) => _feed.Publish("console", JsonSerializer.SerializeToUtf8Bytes(new { text }));

    private void Exits(params string[] exits) => _feed.Publish("exits", Encoding.UTF8.GetBytes($"[{string.Join(',', exits)}]"));

    private static string Exit(int number, int vcpu, string reason, string did = "wrote 0x41 to port 0x3f8 (COM1)", string symbol = "serial_out+0x4", string changed = "{}") => string.Create(CultureInfo.InvariantCulture, $$"""
        {"number":{{number}},"timeNs":{{number * 1000000}},"vcpu":{{vcpu}},"reason":"{{reason}}","kvm":"KVM_EXIT","vmx":null,"svm":null,"vmxClause":null,"svmClause":null,"rip":"0x1000","symbol":"{{symbol}}","instruction":"out dx,al","address":"0x3f8","device":"COM1","write":true,"size":1,"count":1,"value":"0x41","changed":{{changed}},"did":"{{did}}","costNs":1500}
        """);

    private static PageAnswer Json(string text) => new(Encoding.UTF8.GetBytes(text));
}
